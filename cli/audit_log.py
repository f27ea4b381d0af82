"""`dcf audit log`: what was recorded, and what is being recorded."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import NoReturn
from urllib.parse import urlencode
from uuid import UUID

import click

from cli import exits
from cli.arguments import project_option
from cli.audit_subject import asking, entity_id, tenant_option
from cli.audit_text import event_colour, event_line
from cli.client import Api, Json
from cli.epilog import epilog
from cli.live import Live
from cli.lookup import project_of
from cli.moments import MOMENT
from cli.session import Session, shown
from cli.trouble import Trouble

PATH = "audit/events"
LINES = 50
TICK_SECONDS = 0.5
# The service greets at once, and says something every quarter of a minute.
GREETING_SECONDS_MAX = 10.0
OUTAGE_SECONDS_MAX = 120.0
AGAIN_SECONDS = 2.0


@click.command(
    epilog=epilog(
        "dcf audit log --project shop --since 7d --limit 500",
        "dcf audit log --type command.refused",
        "dcf audit log --entity hello --follow",
        "dcf audit log --all-tenants --follow --json | jq .type",
    )
)
@click.option("--follow", "-f", is_flag=True, help="Go on with what is recorded from now on; with --json a line each.")
@project_option
@click.option("--entity", metavar="ID|FUNCTION[#NO]", help="Only events of this.")
@click.option("--actor", metavar="ID", help="Only what this key, person or runner did.")
@click.option("--type", "type_", metavar="TYPE", help="Only events of this type, such as deployment.queued.")
@click.option("--correlation", type=click.UUID, metavar="REQUEST", help="Only what this request set in motion.")
@click.option("--since", type=MOMENT, help="A time, a day, how long ago (12h, 7d), or a position.")
@click.option("--until", type=MOMENT, help="The same; not with --follow.")
@click.option("--limit", type=click.IntRange(min=1), default=LINES, show_default=True, help="The newest so many.")
@tenant_option
@click.option("--all-tenants", is_flag=True, help="For operators: everybody's log.")
@shown
@click.pass_obj
def log(
    session: Session,
    follow: bool,
    project: str | None,
    entity: str | None,
    actor: str | None,
    type_: str | None,
    correlation: UUID | None,
    since: str | None,
    until: str | None,
    limit: int,
    tenant: UUID | None,
    all_tenants: bool,
) -> None:
    """Show what was recorded, refused commands included, oldest first: the newest, or all since a moment.

    Without --project it is the whole tenant.
    """
    if follow and until:
        raise click.UsageError("--until lies in the past, where there is nothing to follow: leave one of the two out.")
    with asking(session, tenant, as_operator=all_tenants) as api:
        filters = {
            "projectId": project_of(session, project, archived=True)["projectId"] if project else None,
            "entityId": entity_id(session, entity, project) if entity else None,
            "actorId": actor,
            "type": type_,
            "correlationId": correlation,
            "tenantId": tenant,
            "from": since,
            "to": until,
        }
        chosen = {name: str(value) for name, value in filters.items() if value is not None}
        if follow:
            _Follower(session, api, chosen).run(limit)
        items = _newest(api, chosen, limit)
    if session.as_json:
        session.screen.result({"items": items})
        return
    for item in items:
        session.screen.say(event_line(item), event_colour(item))
    if not items:
        session.screen.say("Nothing was recorded that fits.")


def _newest(api: Api, filters: Mapping[str, str], limit: int) -> list[Json]:
    return api.items(PATH, limit=limit, order="newestFirst", **filters)[::-1]


class _Follower:
    """Tells each entry once, in order, whatever happens to the connection."""

    def __init__(self, session: Session, api: Api, filters: Mapping[str, str]) -> None:
        self._session, self._api, self._filters = session, api, filters
        self._after: str | None = None

    def run(self, limit: int) -> NoReturn:
        """Tell the newest so many, then go on until it is interrupted. Raises Trouble."""
        # The stream is opened first: between the list and its beginning nothing is lost then.
        silent_since: float | None = None
        begun = False
        try:
            while True:
                with self._opened() as live:
                    heard = live.next(GREETING_SECONDS_MAX) is not None
                    if heard and not begun:
                        self._tell_newest(limit)
                        begun = True
                    while not live.is_over:
                        self._hear(live)
                now = time.monotonic()
                silent_since = None if heard else silent_since or now
                if silent_since is not None and now - silent_since > OUTAGE_SECONDS_MAX:
                    self._api.get(PATH, limit=1, **self._filters)  # Says what is wrong.
                    raise Trouble("The service does not stream its log.", exit_code=exits.UNREACHABLE)
                self._session.screen.progress("the service is away")
                time.sleep(AGAIN_SECONDS)
        except KeyboardInterrupt:
            again = f"dcf audit log --follow --since {self._after}" if self._after else "dcf audit log --follow"
            raise Trouble("You stopped following.", then=again, exit_code=exits.INTERRUPTED) from None

    def _opened(self) -> Live:
        return Live(self._api, f"{PATH}?{urlencode(self._filters)}", after=self._after)

    def _tell_newest(self, limit: int) -> None:
        for item in _newest(self._api, self._filters, limit):
            self._tell(item)

    def _hear(self, live: Live) -> None:
        message = live.next(TICK_SECONDS)
        if message is None:
            return
        if message.data is not None:
            self._tell(message.data)
        elif message.id:
            self._after = message.id if _is_beyond(message.id, self._after) else self._after

    def _tell(self, item: Json) -> None:
        if not _is_beyond(item["position"], self._after):
            return
        self._after = item["position"]
        if self._session.as_json:
            click.echo(json.dumps(item, ensure_ascii=False))
        else:
            self._session.screen.say(event_line(item), event_colour(item))


def _is_beyond(position: str, other: str | None) -> bool:
    """Positions of another epoch are beyond: the log was restored."""
    if other is None:
        return True
    (epoch, number), (other_epoch, other_number) = position.split(":"), other.split(":")
    return epoch != other_epoch or int(number) > int(other_number)
