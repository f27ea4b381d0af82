"""`dcf projects`."""

from __future__ import annotations

import click

from cli.arguments import project_argument
from cli.client import Json
from cli.completions import project_names
from cli.epilog import epilog
from cli.lookup import active_projects, find, project_of
from cli.moments import AHEAD
from cli.session import Session, shown

_COLUMNS = {"name": "name", "id": "projectId", "status": "status", "created": "createdAt"}
_FIELDS = {
    "name": "name",
    "id": "projectId",
    "address": "slug",
    "status": "status",
    "created": "createdAt",
    "updated": "updatedAt",
    "deployments locked": "deployLock.reason",
    "locked by": "deployLock.lockedBy.id",
    "locked at": "deployLock.lockedAt",
    "locked until": "deployLock.expiresAt",
}


@click.group(epilog=epilog("dcf projects create shop", "dcf projects list --json"))
def projects() -> None:
    """Projects: what functions, integrations and deployments belong to."""


@projects.command("list", epilog=epilog("dcf projects list", "dcf projects list --all --json"))
@click.option("--all", "archived", is_flag=True, help="The archived ones too.")
@shown
@click.pass_obj
def list_(session: Session, archived: bool) -> None:
    """List the projects, newest first."""
    found = session.api.items("projects") if archived else active_projects(session.api)
    session.screen.rows(found, _COLUMNS, empty="No projects yet. Type: dcf projects create NAME")


@projects.command(epilog=epilog("dcf projects create shop"))
@click.argument("name")
@shown
@click.pass_obj
def create(session: Session, name: str) -> None:
    """Create a project."""
    session.screen.fields(session.api.write("POST", "projects", {"name": name}), _FIELDS)


@projects.command(epilog=epilog("dcf projects show shop"))
@click.argument("project", metavar="NAME|ID", required=False, shell_complete=project_names)
@shown
@click.pass_obj
def show(session: Session, project: str | None) -> None:
    """Show a project."""
    session.screen.fields(project_of(session, project), _FIELDS)


@projects.command(epilog=epilog('dcf projects rename shop "The shop"'))
@project_argument
@click.argument("name", metavar="NEW_NAME")
@shown
@click.pass_obj
def rename(session: Session, project: str, name: str) -> None:
    """Give a project another name; its functions keep their addresses."""
    known = project_of(session, project)
    renamed = session.api.write("PATCH", f"projects/{known['projectId']}", {"name": name})
    session.screen.fields(renamed, _FIELDS)


@projects.command(epilog=epilog('dcf projects archive shop --reason "closed"'))
@project_argument
@click.option("--reason", default="", help="Why, for the audit trail.")
@shown
@click.pass_obj
def archive(session: Session, project: str, reason: str) -> None:
    """Put a project away. Nothing of it may be live; its name is free again."""
    known = project_of(session, project)
    body = {"reason": reason} if reason else {}
    session.screen.fields(session.api.write("POST", f"projects/{known['projectId']}/archive", body), _FIELDS)


@projects.command(
    epilog=epilog('dcf projects lock shop --reason "stocktaking"', 'dcf projects lock shop --reason "audit" --for 12h')
)
@project_argument
@click.option("--reason", required=True, help="Why; whoever is refused a deployment is told.")
@click.option("--for", "until", type=AHEAD, help="How long: 30m, 12h, 7d; or until when. 30 days when not given.")
@shown
@click.pass_obj
def lock(session: Session, project: str, reason: str, until: str | None) -> None:
    """Begin nothing new in a project: what is queued waits, deployments are refused; canceling and undeploying still work."""
    known = project_of(session, project)
    body = {"reason": reason} | ({"expiresAt": until} if until else {})
    _show_lock(session, session.api.write("PUT", f"projects/{known['projectId']}/deploy-lock", body), known["name"])


@projects.command(epilog=epilog("dcf projects unlock shop"))
@project_argument
@shown
@click.pass_obj
def unlock(session: Session, project: str) -> None:
    """Let a project's deployments begin again."""
    known = project_of(session, project)
    _show_lock(session, session.api.write("DELETE", f"projects/{known['projectId']}/deploy-lock"), known["name"])


def _show_lock(session: Session, found: Json, name: str) -> None:
    held = found["deployLock"]
    told = f"Deployments of {name} are locked until {held['expiresAt']}." if held else f"{name} is not locked."
    session.screen.result(found, told)


def project_named_or_made(session: Session, name: str) -> tuple[str, str]:
    """The id and name of the project, created (and said so) when there is none of that name."""
    known = find(active_projects(session.api), name, "projectId")
    if known is None:
        known = session.api.write("POST", "projects", {"name": name})
        session.screen.say(f"Created the project {known['name']}.")
    return known["projectId"], known["name"]
