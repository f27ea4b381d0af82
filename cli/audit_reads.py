"""`dcf audit as-of`, `history`, `diff` and `causes`: what was, what became of it, and because of what."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import click

from cli.arguments import project_option
from cli.audit_subject import asking, entity_argument, entity_id, tenant_option
from cli.audit_text import change_lines, event_line
from cli.client import Api, Json, Refused
from cli.epilog import epilog
from cli.lookup import project_of
from cli.moments import MOMENT
from cli.session import Session, shown
from cli.trouble import Trouble

# The lists there are, each with its address and what is shown of it.
_IN_PROJECT = "projects/{projectId}/"
_LISTS: Mapping[str, tuple[str, dict[str, str]]] = {
    "projects": ("projects", {"name": "name", "id": "projectId", "status": "status"}),
    "functions": (
        f"{_IN_PROJECT}functions",
        {"name": "name", "id": "functionId", "status": "status", "runtime": "runtime", "revision": "revision"},
    ),
    "deployments": (
        f"{_IN_PROJECT}deployments",
        {
            "id": "deploymentId",
            "function": "functionId",
            "no": "number",
            "provider": "provider",
            "status": "status",
            "active": "active",
        },
    ),
    "integrations": (
        f"{_IN_PROJECT}integrations",
        {"provider": "provider", "status": "status", "identity": "identityStatus", "storage": "storageStatus"},
    ),
    "artifacts": (f"{_IN_PROJECT}artifacts", {"id": "artifactId", "file": "fileName", "digest": "digest"}),
    "members": ("tenant/members", {"person": "personId", "role": "role", "added": "addedAt"}),
    "keys": ("keys", {"name": "name", "id": "keyId", "role": "role", "revoked": "revokedAt"}),
}


@click.command(
    "as-of",
    epilog=epilog(
        "dcf audit as-of hello --at 2026-03-01T12:00:00Z",
        "dcf audit as-of hello#3 --at 1:2045",
        "dcf audit as-of functions --project shop --at 7d",
    ),
)
@click.argument("what", metavar="ID|FUNCTION[#NO]|LIST")
@click.option("--at", type=MOMENT, required=True, help="A time, a day, how long ago (12h, 7d), or a position (1:2045).")
@project_option
@tenant_option
@shown
@click.pass_obj
def as_of(session: Session, what: str, at: str, project: str | None, tenant: UUID | None) -> None:
    """Show anything, or a list, as it was. LIST is one of: projects, functions, deployments, integrations, artifacts,
    members, keys."""
    if what in _LISTS:
        _show_list(session, what, at, project)
        return
    with asking(session, tenant) as api:
        found = api.get(f"audit/entities/{entity_id(session, what, project)}", asOf=at, tenantId=tenant)
    if session.as_json:
        session.screen.result(found)
        return
    value = found["value"]
    session.screen.fields(
        {**value, "kind": found["kind"], "asOf": found["asOf"], "position": found["position"]},
        {"kind": "kind", "as of": "asOf", "changed at": "position", **{name: name for name in value}},
    )


def _show_list(session: Session, what: str, at: str, project: str | None) -> None:
    path, columns = _LISTS[what]
    address = path.format(**project_of(session, project, archived=True)) if path.startswith(_IN_PROJECT) else path
    session.screen.rows(session.api.items(address, asOf=at), columns, empty=f"There were no {what} then.")


@click.command(
    epilog=epilog("dcf audit history hello", "dcf audit history 0192d3a4-5b6c-7d8e-9f00-112233445566 --json")
)
@entity_argument
@project_option
@tenant_option
@shown
@click.pass_obj
def history(session: Session, entity: str, project: str | None, tenant: UUID | None) -> None:
    """Show every change of anything: who did it, by which command, why, because of what, and which fields changed.

    A member of the tenant has the person's id.
    """
    with asking(session, tenant) as api:
        items = api.items(f"audit/history/{entity_id(session, entity, project)}", tenantId=tenant)
    for item in () if session.as_json else items:
        session.screen.say(event_line(item))
        session.screen.say(f"  by {item['command']} of request {item['correlationId']}, {_because(item)}", "dim")
        for line in change_lines(item["changes"]):
            session.screen.say(line)
    session.screen.result({"items": items})


@click.command(epilog=epilog("dcf audit diff hello --from 7d", "dcf audit diff hello#3 --from 1:2045 --to 1:2101"))
@entity_argument
@click.option("--from", "start", type=MOMENT, help="The earlier moment; the log's beginning when left out.")
@click.option("--to", "end", type=MOMENT, help="The later moment; now when left out.")
@project_option
@tenant_option
@shown
@click.pass_obj
def diff(
    session: Session, entity: str, start: str | None, end: str | None, project: str | None, tenant: UUID | None
) -> None:
    """Show what differs in anything between two moments, field by field."""
    with asking(session, tenant) as api:
        path = f"audit/diff/{entity_id(session, entity, project)}"
        found = api.get(path, tenantId=tenant, **{"from": start, "to": end})
    lines = change_lines(found["changes"])
    session.screen.result(found, "\n".join([f"{found['kind']} {found['entityId']}", *(lines or ["  nothing differs"])]))


@click.command(
    epilog=epilog("dcf audit causes 0192d3a4-5b6c-7d8e-9f00-112233445566", "dcf audit causes hello#3 --project shop")
)
@click.argument("request", metavar="REQUEST|FUNCTION[#NO]")
@project_option
@tenant_option
@shown
@click.pass_obj
def causes(session: Session, request: str, project: str | None, tenant: UUID | None) -> None:
    """Show all that a request set in motion: its commands, their events, and the commands these led to.

    REQUEST is the correlation id that errors and the log show; of anything else it is the request that made it.
    """
    with asking(session, tenant) as api:
        found = _tree(api, entity_id(session, request, project), tenant)
    for caused in () if session.as_json else found["commands"]:
        indent = "    " * caused["depth"]
        actor = caused["actor"]
        because = f", because of {caused['causedBy']}" if caused["causedBy"] else ""
        session.screen.say(f"{indent}{caused['command']} by {actor['type']} {actor['id']}{because}", "bold")
        for event in caused["events"]:
            session.screen.say(f"{indent}  {event['position']}  {event['type']}  {event['entityId']}")
    if not found["complete"]:
        session.screen.warn("There is more than is shown: see dcf audit log --correlation.")
    session.screen.result(found)


def _tree(api: Api, id: str, tenant: UUID | None) -> Json:
    """What the request of that id led to, or the one that made what has the id. Raises Trouble."""
    try:
        tree: Json = api.get(f"audit/causes/{id}", tenantId=tenant)
    except Refused as refusal:
        if refusal.code != "correlation_not_found":
            raise
    else:
        return tree
    try:
        first = api.get(f"audit/history/{id}", limit=1, tenantId=tenant)["items"][0]
    except Refused as refusal:
        if refusal.code != "entity_not_found":
            raise
        raise Trouble(f"Nothing was recorded because of, or about, {id}.", then="dcf audit log") from refusal
    made: Json = api.get(f"audit/causes/{first['correlationId']}", tenantId=tenant)
    return made


def _because(item: Json) -> str:
    cause = item["causationId"]
    return f"because of the event at {cause}" if cause.isdecimal() else "by itself"
