"""`dcf audit replay`: what was decided about deployments, against what this release would decide."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from uuid import UUID

import click
import msgspec

from audit import replay as replaying
from audit.decisions import Judgement
from audit.replay import LogUnreachable, Replay
from cli import exits
from cli.client import Json
from cli.epilog import epilog
from cli.operating import UNAVAILABLE, settings_of
from cli.session import Session, shown
from cli.trouble import Trouble
from domain.deployment import DeploymentUnknown


@click.command(
    epilog=epilog(
        "dcf audit replay 0192d3a4-5b6c-7d8e-9f00-112233445566",
        "dcf audit replay --all --json",
        exit_codes=True,
    ),
)
@click.argument("deployment", metavar="ID", type=click.UUID, required=False)
@click.option("--all", "every", is_flag=True, help="Every deployment there is; only those that differ are shown.")
@shown
@click.pass_obj
def replay(session: Session, deployment: UUID | None, every: bool) -> int:
    """Replay a deployment step by step: the state and the sights that were recorded, and what today's plan makes of them.

    Exit code 1: today's code would have decided otherwise somewhere. That is no fault of the log's: code changes.
    """
    if every == (deployment is not None):
        raise click.UsageError("Name one deployment, or --all.")
    settings = settings_of(session.environment)
    # The bridge reads the service's own settings, and one tenant's of DCF_TENANT if that is set.
    environment = {**session.environment, **settings.to_environment()}
    try:
        if deployment is None:
            return _show_all(session, replaying.replay_all(environment))
        return _show_one(session, replaying.replay(environment, deployment))
    except DeploymentUnknown as unknown:
        raise Trouble(unknown.detail, then="dcf deployments list", exit_code=exits.USAGE) from unknown
    except (LogUnreachable, *UNAVAILABLE) as problem:
        raise Trouble(f"The log cannot be read: {problem}", then="dcf doctor") from problem


def _show_one(session: Session, found: Replay) -> int:
    for judgement in () if session.as_json else found.judgements:
        session.screen.say(_line(judgement), "plain" if judgement.agrees else "red")
    said = "Today's plan decides the same." if found.agrees else "Today's plan would decide otherwise."
    session.screen.result(_as_json(found), said)
    return exits.OK if found.agrees else exits.FAILED


def _show_all(session: Session, every: Iterable[Replay]) -> int:
    count, differing = 0, []
    for found in _counted(session, every):
        count += 1
        if not found.agrees:
            differing.append(found)
            if not session.as_json:
                session.screen.say(f"{found.deployment_id}", "bold")
                for judgement in found.judgements:
                    if not judgement.agrees:
                        session.screen.say(_line(judgement), "red")
    text = f"{count} deployments, {len(differing)} of which today's plan would decide otherwise."
    session.screen.result({"deployments": count, "differing": [_as_json(found) for found in differing]}, text)
    return exits.FAILED if differing else exits.OK


def _counted(session: Session, every: Iterable[Replay]) -> Iterator[Replay]:
    for number, found in enumerate(every, 1):
        session.screen.progress(f"{number} deployments replayed")
        yield found


def _line(judgement: Judgement) -> str:
    place = f"{judgement.version:>4}  at {judgement.position:<8} {judgement.event:<28}"
    if not judgement.decided:
        return f"{place} nobody decides this"
    return f"{place} {judgement.decided}" if judgement.agrees else f"{place} {judgement.because}"


def _as_json(found: Replay) -> Json:
    return {
        "deploymentId": str(found.deployment_id),
        "agrees": found.agrees,
        "steps": msgspec.to_builtins(found.judgements),
    }
