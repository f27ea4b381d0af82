"""`dcf functions`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from cli import exits
from cli.arguments import function_argument, project_option
from cli.client import Json
from cli.differences import show_differences
from cli.epilog import epilog
from cli.lookup import find_function, function_of, project_of
from cli.session import Session, shown
from cli.trouble import Trouble

F = TypeVar("F", bound=Callable[..., Any])

_COLUMNS = {
    "name": "name",
    "status": "status",
    "trigger": "trigger.type",
    "runtime": "runtime",
    "access": "access",
    "changed": "changedSinceDeploy",
    "updated": "updatedAt",
}
_FIELDS = {
    "name": "name",
    "id": "functionId",
    "project": "projectId",
    "description": "description",
    "status": "status",
    "trigger": "trigger.type",
    "settings": "trigger.settings",
    "runtime": "runtime",
    "access": "access",
    "provider": "provider",
    "environment": "environment",
    "secrets": "secretNames",
    "active deployment": "activeDeploymentId",
    "changed since": "changedSinceDeploy",
    "revision": "revision",
    "created": "createdAt",
    "updated": "updatedAt",
}
_TICKS = {
    "due": "dueAt",
    "status": "status",
    "answer": "httpStatus",
    "ended": "endedAt",
    "deployment": "deploymentId",
    "message": "message",
}
_REVISIONS = {
    "no": "revision",
    "at": "at",
    "by": "actor.type",
    "runtime": "runtime",
    "access": "access",
    "trigger": "trigger.type",
    "environment": "environment",
    "description": "description",
}


@click.group(
    epilog=epilog(
        "dcf functions list --project shop",
        "dcf functions update hello --env GREETING=Hi --access public",
    )
)
def functions() -> None:
    """Functions: the saved record of each. `dcf deploy` creates and updates them from a folder."""


def _authoring(command: F) -> F:
    """The options for what an author decides about a function."""
    options = (
        click.option("--description", help="What it is for."),
        click.option("--trigger", help="What sets it in motion: see `dcf triggers`."),
        click.option("--setting", "settings", multiple=True, metavar="NAME=VALUE", help="A setting of the trigger."),
        click.option("--runtime", help="The Dart SDK version: see `dcf runtimes`."),
        click.option("--access", type=click.Choice(["private", "public"]), help="Who may call it."),
        click.option(
            "--provider", type=click.Choice(["local", "aws", "azure", "gcp"]), help="Where it prefers to run."
        ),
        click.option("--env", "environment", multiple=True, metavar="NAME=VALUE", help="A variable; repeat for more."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@functions.command("list", epilog=epilog("dcf functions list", "dcf functions list --project shop --json"))
@project_option
@click.option("--all", "archived", is_flag=True, help="The archived ones too.")
@shown
@click.pass_obj
def list_(session: Session, project: str | None, archived: bool) -> None:
    """List the functions of a project, newest first."""
    kept = session.api.items(f"projects/{project_of(session, project)['projectId']}/functions")
    found = [function for function in kept if archived or function["status"] != "archived"]
    session.screen.rows(found, _COLUMNS, empty="No functions yet. Type: dcf deploy DIR")


@functions.command(epilog=epilog("dcf functions show hello"))
@function_argument
@project_option
@shown
@click.pass_obj
def show(session: Session, function: str, project: str | None) -> None:
    """Show a function."""
    session.screen.fields(function_of(session.api, project_of(session, project), function), _FIELDS)


@functions.command(
    epilog=epilog(
        "dcf functions create hello --access public --env GREETING=Hi",
        'dcf functions create nightly --trigger schedule --setting "cron=0 3 * * *" --setting timeZone=Europe/Madrid',
    )
)
@click.argument("name")
@project_option
@_authoring
@shown
@click.pass_obj
def create(session: Session, /, name: str, project: str | None, **given: Any) -> None:
    """Create a function as a draft, with the default runtime and private access unless told otherwise."""
    owner = project_of(session, project)
    body = {"projectId": owner["projectId"], "name": name, **_authored(given, {})}
    body.setdefault("runtime", default_runtime(session))
    session.screen.fields(session.api.write("POST", "functions", body), _FIELDS)


@functions.command(
    epilog=epilog(
        "dcf functions update hello --env GREETING=Hi --unset DEBUG", "dcf functions update hello --runtime 3.11.0"
    )
)
@function_argument
@project_option
@click.option("--name", "new_name", help="Another name; the address stays.")
@click.option("--unset", multiple=True, metavar="NAME", help="A variable to take away; repeat for more.")
@_authoring
@shown
@click.pass_obj
def update(
    session: Session, /, function: str, project: str | None, new_name: str | None, unset: Sequence[str], **given: Any
) -> None:
    """Change what is named, and nothing else; variables are added to those there are. Deploy to make it effective."""
    # Read and changed under its ETag, so that variables somebody else sets meanwhile are not lost.
    known, etag = session.api.entity(_path(session, project, function))
    changes: Json = _authored(given, known)
    if new_name:
        changes["name"] = new_name
    if unset:
        variables = changes.get("environment") or known["environment"]
        changes["environment"] = {name: value for name, value in variables.items() if name not in unset}
    if not changes:
        raise Trouble("Nothing to change was named.", then="dcf functions update --help", exit_code=exits.USAGE)
    changed = session.api.write(
        "PUT", "functions/update", {"functionId": known["functionId"], **changes}, if_match=etag
    )
    session.screen.fields(changed, _FIELDS)


@functions.command(epilog=epilog("dcf functions archive hello", "dcf functions archive hello --undeploy-first"))
@function_argument
@project_option
@click.option("--undeploy-first", is_flag=True, help="Take away what is live of it before.")
@shown
@click.pass_obj
def archive(session: Session, function: str, project: str | None, undeploy_first: bool) -> None:
    """Put a function away. Nothing of it may be live, unless --undeploy-first is given."""
    archived = session.api.write(
        "POST", f"{_path(session, project, function)}/archive", {"undeployFirst": True} if undeploy_first else {}
    )
    session.screen.fields(archived, _FIELDS)


@functions.command(epilog=epilog("dcf functions diff hello", "dcf functions diff hello --json"))
@function_argument
@project_option
@shown
@click.pass_obj
def diff(session: Session, function: str, project: str | None) -> None:
    """Show what deploying a function as it is saved now would change of what is live."""
    differences = session.api.get(f"{_path(session, project, function)}/diff")
    empty = "Nothing differs." if differences["against"] else "Nothing of it is live."
    show_differences(session, differences, empty=empty)


@functions.command(epilog=epilog("dcf functions revisions hello", "dcf functions revisions hello --json"))
@function_argument
@project_option
@shown
@click.pass_obj
def revisions(session: Session, function: str, project: str | None) -> None:
    """List a function's record as it was saved each time, oldest first."""
    found = session.api.items(f"{_path(session, project, function)}/revisions")
    session.screen.rows(found, _REVISIONS, empty="No revisions.")


@functions.command(epilog=epilog("dcf functions ticks nightly", "dcf functions ticks nightly --limit 5 --json"))
@function_argument
@project_option
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many at most.")
@shown
@click.pass_obj
def ticks(session: Session, function: str, project: str | None, limit: int) -> None:
    """List what came of a function's schedule, newest first."""
    found = session.api.items(f"{_path(session, project, function)}/ticks", limit=limit)
    session.screen.rows(found, _TICKS, empty="It was not due yet, or has no schedule.")


def _path(session: Session, project: str | None, function: str) -> str:
    owner = project_of(session, project)
    return f"projects/{owner['projectId']}/functions/{function_of(session.api, owner, function)['functionId']}"


def default_runtime(session: Session) -> str:
    """The runtime new drafts are offered. Raises Trouble when there is none."""
    version: str = session.api.get("runtimes")["default"]
    if not version:
        raise Trouble("The service has no default runtime.", then="name one with --runtime: see `dcf runtimes`")
    return version


def function_saved(
    session: Session, project: Json, name: str, authored: Json, files: dict[str, str], *, described: str
) -> Json:
    """The project's function of that name as the folder describes it: created, changed or left alone, and said so."""
    known = find_function(session.api, project, name)
    if known is None:
        body = {"projectId": project["projectId"], "name": name, **authored, "artifactFiles": files}
        body.setdefault("runtime", default_runtime(session))
        made: Json = session.api.write("POST", "functions", body)
        session.screen.say(f"Created the function {name} (runtime {made['runtime']}, {made['access']}).")
        return made
    changed = {field: value for field, value in authored.items() if known.get(field) != value}
    saved: Json = session.api.write(
        "PUT", "functions/update", {"functionId": known["functionId"], **changed, "artifactFiles": files}
    )
    if changed:
        session.screen.say(f"Changed the {', '.join(changed)} of {name}, as {described} says.")
    return saved


def _authored(given: Json, known: Json) -> Json:
    """The fields that options name, variables and settings added to those there are."""
    named = {field: given[field] for field in ("description", "runtime", "access", "provider") if given[field]}
    if given["environment"]:
        named["environment"] = {**known.get("environment", {}), **pairs(given["environment"], "--env")}
    if given["trigger"] or given["settings"]:
        before = known.get("trigger", {"type": "http", "settings": {}})
        same = given["trigger"] in (None, before["type"])
        settings = {**(before["settings"] if same else {}), **pairs(given["settings"], "--setting")}
        named["trigger"] = {"type": given["trigger"] or before["type"], "settings": settings}
    return named


def pairs(given: Sequence[str], option: str) -> dict[str, str]:
    """`NAME=VALUE` each. Raises Trouble for one that is not."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise Trouble(f"{option} takes NAME=VALUE, not {text!r}.", exit_code=exits.USAGE)
        if name in found:
            raise Trouble(f"{option} names {name} twice.", then="say it once", exit_code=exits.USAGE)
        found[name] = value
    return found
