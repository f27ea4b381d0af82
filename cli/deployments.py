"""`dcf deployments`: what there is of them."""

from __future__ import annotations

import click

from cli import exits
from cli.arguments import deployment_argument, project_option
from cli.build_log import build_log
from cli.completions import deployment_names, function_names
from cli.deployment_actions import ACTIONS
from cli.deployment_names import deployment_of
from cli.differences import show_differences
from cli.epilog import epilog
from cli.following import DEPLOY_SECONDS_MAX, GONE, OUTCOMES, Following, report
from cli.lookup import function_of, project_of
from cli.session import Session, shown
from cli.trouble import Trouble

_STATUSES = (
    "queued",
    "running",
    "deploying",
    "succeeded",
    "failed",
    "canceled",
    "undeploy_queued",
    "undeploying",
    "undeployed",
    "undeploy_failed",
)
_COLUMNS = {
    "id": "deploymentId",
    "deployment": "named",
    "provider": "provider",
    "status": "status",
    "active": "active",
    "made by": "origin",
    "queued": "queuedAt",
    "reason": "reason",
}
_FIELDS = {
    "id": "deploymentId",
    "deployment": "named",
    "function": "functionId",
    "project": "projectId",
    "provider": "provider",
    "target": "target",
    "status": "status",
    "place in queue": "queuePosition",
    "active": "active",
    "url": "url",
    "made by": "origin",
    "made from": "sourceDeploymentId",
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
    "can go back": "canRollback.allowed",
    "because": "canRollback.because",
}
_EVENTS = {"at": "at", "type": "type", "who": "actor.type", "what": "message"}


@click.group(
    epilog=epilog(
        "dcf deployments list --function hello --status failed",
        "dcf deployments show hello               the newest of the function hello",
        "dcf deployments rollback hello#2         its second one",
        "dcf deployments watch 0192d3a4-5b6c-7d8e-9f00-112233445566",
    )
)
def deployments() -> None:
    """Deployments: what was deployed, is being deployed, or was taken away.

    Each is named by its id, or by its function and number. With the function alone the newest is meant that the command
    can do something with: the active one to undeploy, the one before it to go back to.
    """


@deployments.command(
    "list", epilog=epilog("dcf deployments list --status failed --json", "dcf deployments list --function hello")
)
@project_option
@click.option("--function", metavar="NAME|ID", shell_complete=function_names, help="Only those of this function.")
@click.option("--status", type=click.Choice(_STATUSES), metavar="STATUS", help="Only those in this status.")
@click.option("--provider", type=click.Choice(["local", "aws", "azure", "gcp"]), help="Only those on this provider.")
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
        found = [{**item, "named": f"{names.get(item['functionId'], '?')}#{item['number']}"} for item in found]
    session.screen.rows(found, _COLUMNS, empty="No deployments. Type: dcf deploy DIR")


@deployments.command(epilog=epilog("dcf deployments show hello", "dcf deployments show hello#2 --json"))
@deployment_argument
@project_option
@shown
@click.pass_obj
def show(session: Session, deployment: str, project: str | None) -> None:
    """Show a deployment."""
    found = deployment_of(session, project, deployment)
    if not session.as_json:
        function = session.api.get(f"projects/{found['projectId']}/functions/{found['functionId']}")
        found["named"] = f"{function['name']}#{found['number']}"
    session.screen.fields(found, _FIELDS)


@deployments.command(epilog=epilog("dcf deployments events hello", "dcf deployments events hello#2 --json"))
@deployment_argument
@project_option
@shown
@click.pass_obj
def events(session: Session, deployment: str, project: str | None) -> None:
    """List all that happened to a deployment, oldest first."""
    found = deployment_of(session, project, deployment)
    path = f"projects/{found['projectId']}/deployments/{found['deploymentId']}/events"
    session.screen.rows(session.api.items(path), _EVENTS, empty="Nothing happened yet.")


@deployments.command(epilog=epilog("dcf deployments watch hello", "dcf deployments watch hello#2", exit_codes=True))
@deployment_argument
@project_option
@click.option("--timeout", type=float, default=DEPLOY_SECONDS_MAX, show_default=True, help="Seconds to wait at most.")
@shown
@click.pass_obj
def watch(session: Session, deployment: str, project: str | None, timeout: float) -> None:
    """Show a deployment's timeline, and go on until it rests. The exit code tells how.

    Ctrl-C ends the watching, never the deployment.
    """
    found = deployment_of(session, project, deployment)
    resting = Following(session.api, session.screen, found).until(OUTCOMES | GONE, seconds_max=timeout)
    report(session.screen, resting)


@deployments.command(epilog=epilog("dcf deployments logs hello --follow", "dcf deployments logs hello#2 > build.log"))
@deployment_argument
@project_option
@click.option("-f", "--follow", is_flag=True, help="Go on while it builds.")
@shown
@click.pass_obj
def logs(session: Session, deployment: str, project: str | None, follow: bool) -> None:
    """Print what a deployment's build said."""
    found = deployment_of(session, project, deployment)
    try:
        session.screen.result(build_log(session, found, follow=follow))
    except KeyboardInterrupt:
        again = f"dcf deployments logs {deployment} --follow"
        raise Trouble("You stopped reading; the build goes on.", then=again, exit_code=exits.INTERRUPTED) from None


@deployments.command(
    epilog=epilog(
        "dcf deployments diff hello               against the active one", "dcf deployments diff hello#3 hello#2"
    )
)
@deployment_argument
@click.argument("against", metavar="[AGAINST]", required=False, shell_complete=deployment_names)
@project_option
@shown
@click.pass_obj
def diff(session: Session, deployment: str, against: str | None, project: str | None) -> None:
    """Show what a deployment's release changes against another one, or the active one."""
    found = deployment_of(session, project, deployment)
    path = f"projects/{found['projectId']}/deployments/{found['deploymentId']}/diff"
    other = deployment_of(session, found["projectId"], against)["deploymentId"] if against else None
    differences = session.api.get(path, against=other)
    empty = "Nothing differs." if differences["against"] else "Nothing of the function is live to compare with."
    show_differences(session, differences, empty=empty)


for _action in ACTIONS:
    deployments.add_command(_action)
