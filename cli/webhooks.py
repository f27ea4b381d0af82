"""`dcf webhooks`: addresses that are told what happens to a project's deployments."""

from __future__ import annotations

import click

from cli import exits
from cli.client import Json
from cli.completions import project_names, webhook_ids
from cli.epilog import epilog
from cli.lookup import project_of
from cli.session import Session, shown
from cli.trouble import Trouble

_COLUMNS = {
    "id": "webhookId",
    "url": "url",
    "types": "types",
    "status": "status",
    "told last": "delivering.deliveredAt",
    "failures": "delivering.failures",
}
_FIELDS = {
    **_COLUMNS,
    "description": "description",
    "because": "statusReason",
    "failing since": "delivering.failingSince",
    "tried again": "delivering.nextAttemptAt",
    "it said": "delivering.message",
    "created": "createdAt",
}
_DELIVERIES = {
    "at": "lastAt",
    "event": "type",
    "deployment": "deploymentId",
    "status": "status",
    "attempts": "attempts",
    "http": "httpStatus",
    "it said": "message",
    "position": "position",
}

_project = click.option(
    "--project", metavar="NAME|ID", shell_complete=project_names, help="Whose it is; the only one there is by default."
)
_webhook = click.argument("webhook", metavar="ID|URL", shell_complete=webhook_ids)
_types = click.option(
    "--type",
    "types",
    multiple=True,
    help="Only events of this type, such as deployment.failed; repeat for more.",
)


@click.group(
    epilog=epilog(
        "dcf webhooks create https://ci.example.com/dcf --type deployment.succeeded --type deployment.failed",
        "dcf webhooks test https://ci.example.com/dcf",
        "dcf webhooks deliveries https://ci.example.com/dcf",
    )
)
def webhooks() -> None:
    """Webhooks: your addresses are told, signed and in order, what happens to deployments."""


@webhooks.command("list", epilog=epilog("dcf webhooks list", "dcf webhooks list --all --json"))
@_project
@click.option("--all", "removed", is_flag=True, help="The removed ones too.")
@shown
@click.pass_obj
def list_(session: Session, project: str | None, removed: bool) -> None:
    """List the webhooks of a project."""
    found = [one for one in session.api.items(_path(session, project)) if removed or one["status"] != "removed"]
    session.screen.rows(found, _COLUMNS, empty="No webhooks.")


@webhooks.command(epilog=epilog("dcf webhooks create https://ci.example.com/dcf --type deployment.failed > ci.secret"))
@click.argument("url")
@_project
@_types
@click.option("--description", default="", help="What it is for.")
@shown
@click.pass_obj
def create(session: Session, url: str, project: str | None, types: tuple[str, ...], description: str) -> None:
    """Have URL told, and print the secret that signs what it is sent, this once, alone on standard output."""
    body = {"url": url, "types": list(types), "description": description}
    path = _path(session, project)
    made = session.api.write("POST", path, body)
    if made["secret"] is None:
        session.api.write("DELETE", f"{path}/{made['webhookId']}")
        raise Trouble(
            "The connection was lost when the secret was shown; that webhook is removed again.",
            then="type the command again",
        )
    session.screen.warn("The secret is shown only this once: keep it now, and check signatures with it.")
    session.screen.result(made, made["secret"])


@webhooks.command(epilog=epilog("dcf webhooks show https://ci.example.com/dcf"))
@_webhook
@_project
@shown
@click.pass_obj
def show(session: Session, webhook: str, project: str | None) -> None:
    """Show a webhook, and how telling it goes."""
    session.screen.fields(_known(session, webhook, project), _FIELDS)


@webhooks.command(
    epilog=epilog(
        "dcf webhooks change https://ci.example.com/dcf --url https://ci2.example.com/dcf",
        "dcf webhooks change https://ci.example.com/dcf --all-types",
    )
)
@_webhook
@_project
@click.option("--url", help="Another address.")
@_types
@click.option("--all-types", is_flag=True, help="Every event of a deployment.")
@click.option("--description", help="What it is for.")
@shown
@click.pass_obj
def change(
    session: Session,
    webhook: str,
    project: str | None,
    url: str | None,
    types: tuple[str, ...],
    all_types: bool,
    description: str | None,
) -> None:
    """Change what a webhook is told, and where."""
    if types and all_types:
        raise Trouble("--type and --all-types say two things.", exit_code=exits.USAGE)
    body: Json = {}
    if url is not None:
        body["url"] = url
    if types or all_types:
        body["types"] = list(types)
    if description is not None:
        body["description"] = description
    if not body:
        raise Trouble("Nothing is to be changed.", then="dcf webhooks change --help", exit_code=exits.USAGE)
    session.screen.fields(_changed(session, webhook, project, body), _FIELDS)


@webhooks.command("on", epilog=epilog("dcf webhooks on https://ci.example.com/dcf"))
@_webhook
@_project
@shown
@click.pass_obj
def switch_on(session: Session, webhook: str, project: str | None) -> None:
    """Switch a webhook on; it is told what happened meanwhile."""
    session.screen.fields(_changed(session, webhook, project, {"status": "active"}), _FIELDS)


@webhooks.command("off", epilog=epilog("dcf webhooks off https://ci.example.com/dcf"))
@_webhook
@_project
@shown
@click.pass_obj
def switch_off(session: Session, webhook: str, project: str | None) -> None:
    """Switch a webhook off, until it is switched on."""
    session.screen.fields(_changed(session, webhook, project, {"status": "off"}), _FIELDS)


@webhooks.command(epilog=epilog("dcf webhooks rotate https://ci.example.com/dcf --overlap-hours 48 > ci.secret"))
@_webhook
@_project
@click.option("--overlap-hours", type=click.IntRange(0, 720), default=24, show_default=True, help="Both sign so long.")
@shown
@click.pass_obj
def rotate(session: Session, webhook: str, project: str | None, overlap_hours: int) -> None:
    """Give a webhook another secret and print it, this once. The former signs beside it for a while."""
    known = _known(session, webhook, project)
    path = f"{_path(session, project)}/{known['webhookId']}/rotate-secret"
    made = session.api.write("POST", path, {"overlapSeconds": overlap_hours * 3600})
    if made["secret"] is None:
        raise Trouble("The connection was lost when the secret was shown.", then="type the command again")
    session.screen.warn("The secret is shown only this once: keep it now.")
    session.screen.result(made, made["secret"])


@webhooks.command(epilog=epilog("dcf webhooks test https://ci.example.com/dcf"))
@_webhook
@_project
@shown
@click.pass_obj
def test(session: Session, webhook: str, project: str | None) -> None:
    """Have a webhook.test sent."""
    known = _known(session, webhook, project)
    answer = session.api.write("POST", f"{_path(session, project)}/{known['webhookId']}/test")
    session.screen.say(f"A test is on its way; see dcf webhooks deliveries {known['url']}")
    session.screen.result(answer)


@webhooks.command(epilog=epilog("dcf webhooks replay https://ci.example.com/dcf 1:4711"))
@_webhook
@click.argument("after", metavar="POSITION")
@_project
@shown
@click.pass_obj
def replay(session: Session, webhook: str, after: str, project: str | None) -> None:
    """Have everything behind POSITION told again, each event under the id it had."""
    known = _known(session, webhook, project)
    answer = session.api.write("POST", f"{_path(session, project)}/{known['webhookId']}/replay", {"after": after})
    session.screen.say(f"{known['url']} is told again what followed {after}.")
    session.screen.result(answer)


@webhooks.command(epilog=epilog("dcf webhooks deliveries https://ci.example.com/dcf --json"))
@_webhook
@_project
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="The newest so many.")
@shown
@click.pass_obj
def deliveries(session: Session, webhook: str, project: str | None, limit: int) -> None:
    """List what was told a webhook and what it answered, newest first."""
    known = _known(session, webhook, project)
    path = f"{_path(session, project)}/{known['webhookId']}/deliveries"
    session.screen.rows(session.api.items(path, limit=limit), _DELIVERIES, empty="It was told nothing yet.")


@webhooks.command(epilog=epilog("dcf webhooks remove https://ci.example.com/dcf"))
@_webhook
@_project
@shown
@click.pass_obj
def remove(session: Session, webhook: str, project: str | None) -> None:
    """Have a webhook told nothing any more."""
    known = _known(session, webhook, project)
    removed = session.api.write("DELETE", f"{_path(session, project)}/{known['webhookId']}")
    session.screen.say(f"Removed {known['url']}.")
    session.screen.result(removed)


def _path(session: Session, project: str | None) -> str:
    return f"projects/{project_of(session, project)['projectId']}/webhooks"


def _changed(session: Session, webhook: str, project: str | None, body: Json) -> Json:
    known = _known(session, webhook, project)
    session.api.write("PATCH", f"{_path(session, project)}/{known['webhookId']}", body)
    return _known(session, known["webhookId"], project)


def _known(session: Session, wanted: str, project: str | None) -> Json:
    there = [one for one in session.api.items(_path(session, project)) if one["status"] != "removed"]
    by_id = [one for one in there if one["webhookId"] == wanted.lower()]
    match by_id or [one for one in there if one["url"] == wanted]:
        case [only]:
            return only
        case []:
            raise Trouble(f"There is no webhook {wanted!r}.", then="dcf webhooks list")
        case _:
            raise Trouble(
                f"Several webhooks have the address {wanted!r}.",
                then="give its id: dcf webhooks list",
                exit_code=exits.USAGE,
            )
