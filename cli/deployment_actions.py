"""What `dcf deployments` does with one: cancel, undeploy, retry, redeploy, rollback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from cli.arguments import deployment_argument, project_option
from cli.client import Json
from cli.deployment_names import (
    ENDED_BADLY,
    RELEASED,
    TO_GO_BACK_TO,
    TO_TAKE_AWAY,
    UNDER_WAY,
    Meant,
    deployment_of,
)
from cli.epilog import epilog
from cli.following import DEPLOY_SECONDS_MAX, GONE, Following, followed, report
from cli.session import Session, shown

F = TypeVar("F", bound=Callable[..., Any])

_reason = click.option("--reason", default="", help="Why, for the audit trail.")


def _acting(command: F) -> F:
    """What all that queue something take."""
    options = (
        deployment_argument,
        project_option,
        _reason,
        click.option("--no-wait", is_flag=True, help="Return as soon as it is queued."),
        click.option(
            "--timeout", type=float, default=DEPLOY_SECONDS_MAX, show_default=True, help="Seconds to wait at most."
        ),
        shown,
        click.pass_obj,
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command(epilog=epilog('dcf deployments cancel hello --reason "wrong version"'))
@deployment_argument
@project_option
@_reason
@shown
@click.pass_obj
def cancel(session: Session, deployment: str, project: str | None, reason: str) -> None:
    """Ask for a deployment to end; what it made already is taken away."""
    found = deployment_of(session, project, deployment, meant=UNDER_WAY)
    asked = session.api.write("POST", f"{_address(found)}/cancel", _why(reason))
    told = "Canceled." if asked["status"] == "canceled" else "Asked it to end."
    session.screen.result(asked, f"{told} Watch it: dcf deployments watch {found['deploymentId']}")


@click.command(epilog=epilog("dcf deployments undeploy hello", "dcf deployments undeploy hello#4", exit_codes=True))
@_acting
def undeploy(
    session: Session, deployment: str, project: str | None, reason: str, no_wait: bool, timeout: float
) -> None:
    """Take the active deployment of a function away, or what an earlier one left behind."""
    found = deployment_of(session, project, deployment, meant=TO_TAKE_AWAY)
    following = Following(session.api, session.screen, found)
    following.skip()
    asked = session.api.write("POST", f"{_address(found)}/undeploy", _why(reason))
    if no_wait:
        session.screen.result(asked, f"Queued. Watch it: dcf deployments watch {found['deploymentId']}")
        return
    report(session.screen, following.until(GONE, seconds_max=timeout))


@click.command(epilog=epilog("dcf deployments retry hello", "dcf deployments retry hello#3 --no-wait", exit_codes=True))
@_acting
def retry(session: Session, deployment: str, project: str | None, reason: str, no_wait: bool, timeout: float) -> None:
    """Try a failed or canceled deployment once more, with the very same release."""
    _again(session, project, deployment, ENDED_BADLY, "retry", reason, no_wait=no_wait, timeout=timeout)


@click.command(epilog=epilog("dcf deployments redeploy hello", "dcf deployments redeploy hello#1", exit_codes=True))
@_acting
def redeploy(
    session: Session, deployment: str, project: str | None, reason: str, no_wait: bool, timeout: float
) -> None:
    """Build and deploy the exact release of a deployment once more, whatever the function is by now."""
    _again(session, project, deployment, RELEASED, "redeploy", reason, no_wait=no_wait, timeout=timeout)


@click.command(
    epilog=epilog(
        "dcf deployments rollback hello           to the newest one it can go back to",
        'dcf deployments rollback hello#1 --reason "too many errors"',
        exit_codes=True,
    )
)
@_acting
def rollback(
    session: Session, deployment: str, project: str | None, reason: str, no_wait: bool, timeout: float
) -> None:
    """Go back to a deployment's release without a build: its code, its settings, its variables."""
    _again(session, project, deployment, TO_GO_BACK_TO, "rollback", reason, no_wait=no_wait, timeout=timeout)


def _again(
    session: Session,
    project: str | None,
    wanted: str,
    meant: Meant,
    verb: str,
    reason: str,
    *,
    no_wait: bool,
    timeout: float,
) -> None:
    """A new deployment made from an earlier one, followed like any other."""
    source = deployment_of(session, project, wanted, meant=meant)
    queued = session.api.write("POST", f"{_address(source)}/{verb}", _why(reason))
    session.screen.say(
        f"Queued a {verb} of number {source['number']} as number {queued['number']}: {queued['deploymentId']}."
    )
    followed(session.api, session.screen, queued, no_wait=no_wait, seconds_max=timeout)


def _address(deployment: Json) -> str:
    return f"projects/{deployment['projectId']}/deployments/{deployment['deploymentId']}"


def _why(reason: str) -> Json:
    return {"reason": reason} if reason else {}


ACTIONS = (cancel, undeploy, retry, redeploy, rollback)
