"""`dcf deployments`."""

from __future__ import annotations

import time

import click

from cli import exits
from cli.client import Api, Json
from cli.deploy import DEPLOY_SECONDS_MAX
from cli.epilog import epilog
from cli.following import GONE, OUTCOMES, Following, report
from cli.lookup import deployment_of, function_of, project_of, project_option
from cli.session import Session, shown
from cli.trouble import Trouble

LOOK_SECONDS = 1.0

_COLUMNS = {
    "id": "deploymentId",
    "function": "functionId",
    "no": "number",
    "provider": "provider",
    "status": "status",
    "active": "active",
    "queued": "queuedAt",
}
_FIELDS = {
    "id": "deploymentId",
    "function": "functionId",
    "project": "projectId",
    "provider": "provider",
    "target": "target",
    "status": "status",
    "active": "active",
    "url": "url",
    "runtime": "release.runtime",
    "toolchain": "release.toolchain.version",
    "image": "release.imageDigest",
    "failure": "failure.message",
    "at step": "failure.step",
    "remedy": "failure.remedy",
    "left behind": "remaining",
    "drift": "drift",
    "reason": "reason",
    "queued": "queuedAt",
    "started": "startedAt",
    "finished": "finishedAt",
}


@click.group(
    epilog=epilog(
        "dcf deployments list --function hello --status failed",
        "dcf deployments watch 0192d3a4-5b6c-7d8e-9f00-112233445566",
    )
)
def deployments() -> None:
    """Deployments: what was deployed, is being deployed, or was taken away."""


@deployments.command("list")
@project_option
@click.option("--function", metavar="NAME|ID", help="Only those of this function.")
@click.option("--status", help="Only those in this status.")
@click.option("--provider", help="Only those on this provider.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many at most.")
@shown
@click.pass_obj
def list_(
    session: Session, project: str | None, function: str | None, status: str | None, provider: str | None, limit: int
) -> None:
    """List the deployments of a project, newest first."""
    owner = project_of(session, project)
    names = {item["functionId"]: item["name"] for item in session.api.items(f"projects/{owner['projectId']}/functions")}
    only = function_of(session.api, owner, function)["functionId"] if function else None
    found = session.api.items(
        f"projects/{owner['projectId']}/deployments", limit=limit, functionId=only, status=status, provider=provider
    )
    if not session.as_json:
        found = [{**item, "functionId": names.get(item["functionId"], item["functionId"])} for item in found]
    session.screen.rows(found, _COLUMNS, empty="No deployments. Type: dcf deploy DIR")


@deployments.command()
@click.argument("deployment", metavar="ID")
@project_option
@shown
@click.pass_obj
def show(session: Session, deployment: str, project: str | None) -> None:
    """Show a deployment."""
    session.screen.fields(deployment_of(session, project, deployment), _FIELDS)


@deployments.command(epilog=epilog(exit_codes=True))
@click.argument("deployment", metavar="ID")
@project_option
@click.option("--timeout", type=float, default=DEPLOY_SECONDS_MAX, show_default=True, help="Seconds to wait at most.")
@shown
@click.pass_obj
def watch(session: Session, deployment: str, project: str | None, timeout: float) -> None:
    """Show a deployment's timeline, and go on until it rests. The exit code tells how."""
    found = deployment_of(session, project, deployment)
    resting = Following(session.api, session.screen, found).until(OUTCOMES | GONE, seconds_max=timeout)
    report(session.screen, resting)


@deployments.command()
@click.argument("deployment", metavar="ID")
@project_option
@click.option("-f", "--follow", is_flag=True, help="Go on while it builds.")
@click.pass_obj
def logs(session: Session, deployment: str, project: str | None, follow: bool) -> None:
    """Print what a deployment's build said."""
    found = deployment_of(session, project, deployment)
    try:
        _print_logs(session, found, follow=follow)
    except KeyboardInterrupt:
        again = f"dcf deployments logs {deployment} --follow"
        raise Trouble("You stopped reading; the build goes on.", then=again, exit_code=exits.INTERRUPTED) from None


@deployments.command()
@click.argument("deployment", metavar="ID")
@project_option
@click.option("--reason", default="", help="Why, for the audit trail.")
@shown
@click.pass_obj
def cancel(session: Session, deployment: str, project: str | None, reason: str) -> None:
    """Ask for a deployment to end; what it made already is taken away."""
    asked = session.api.write("POST", f"{_address(deployment_of(session, project, deployment))}/cancel", _why(reason))
    session.screen.say("Asked it to end.")
    session.screen.result(asked, f"Watch it: dcf deployments watch {deployment}")


@deployments.command(epilog=epilog(exit_codes=True))
@click.argument("deployment", metavar="ID")
@project_option
@click.option("--reason", default="", help="Why, for the audit trail.")
@click.option("--no-wait", is_flag=True, help="Return as soon as it is queued.")
@click.option("--timeout", type=float, default=DEPLOY_SECONDS_MAX, show_default=True, help="Seconds to wait at most.")
@shown
@click.pass_obj
def undeploy(
    session: Session, deployment: str, project: str | None, reason: str, no_wait: bool, timeout: float
) -> None:
    """Take the active deployment of a function away."""
    found = deployment_of(session, project, deployment)
    following = Following(session.api, session.screen, found)
    following.skip()
    asked = session.api.write("POST", f"{_address(found)}/undeploy", _why(reason))
    if no_wait:
        session.screen.result(asked, f"Queued. Watch it: dcf deployments watch {deployment}")
        return
    report(session.screen, following.until(GONE, seconds_max=timeout))


def _print_logs(session: Session, deployment: Json, *, follow: bool) -> None:
    path, cursor = _address(deployment), None
    while True:
        # In this order: what was written before it rested is read after that.
        resting = not follow or session.api.get(path)["status"] in OUTCOMES | GONE
        cursor = _rest_of_log(session.api, session, f"{path}/logs", cursor)
        if resting:
            return
        time.sleep(LOOK_SECONDS)


def _rest_of_log(api: Api, session: Session, path: str, cursor: object) -> object:
    """Print what stands beyond the cursor; where to go on from."""
    while True:
        piece = api.get(path, cursor=cursor)
        if piece["text"]:
            session.screen.say(piece["text"].rstrip("\n"))
        if piece.get("nextCursor") in (None, cursor) or not piece["text"]:
            return piece.get("nextCursor") or cursor
        cursor = piece["nextCursor"]


def _address(deployment: Json) -> str:
    return f"projects/{deployment['projectId']}/deployments/{deployment['deploymentId']}"


def _why(reason: str) -> Json:
    return {"reason": reason} if reason else {}
