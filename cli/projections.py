"""`dcf projections`: how the read models stand, and having them made anew, verified, switched back, mended."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import click

from cli import exits
from cli.client import Api, Json
from cli.epilog import epilog
from cli.operator_api import operator_api
from cli.screen import Screen
from cli.session import Session, shown
from cli.trouble import Trouble

LOOK_SECONDS = 0.5
TIMEOUT_SECONDS = 3_600.0
_BAR_WIDTH = 24
_AT = "operations/projections"

_COLUMNS = {
    "read model": "name",
    "version": "served.version",
    "build": "served.build",
    "behind": "lagEvents",
    "seconds": "lagSeconds",
    "parked": "parkedEvents",
    "before": "previous.build",
    "job": "doing",
}
_PARKED = {"position": "position", "tenant": "tenantId", "stream": "streamId", "error": "error"}


class _Seconds(click.FloatRange):
    """What is no number is in every range, and nobody waits so long."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        return self.fail(f"{value!r} is no number of seconds", param, ctx) if math.isnan(seconds) else seconds


@click.group(
    epilog=epilog(
        "dcf projections status",
        "dcf projections rebuild deployments",
        "dcf projections verify --all --json",
        exit_codes=True,
    )
)
def projections() -> None:
    """The read models, for operators: what is served, how far it is, and jobs that make it anew beside what is served.

    The operator's key is found as by `dcf operators`.
    """


@projections.command(epilog=epilog("dcf projections status", "dcf projections status deployments --json"))
@click.argument("name", required=False)
@shown
@click.pass_obj
def status(session: Session, name: str | None) -> None:
    """Show what is served, how many events and seconds it is behind the log, and what could not be applied."""
    with operator_api(session) as api:
        if name is None:
            items = api.get(_AT)["items"]
            rows = items if session.as_json else [{**item, "doing": _doing(item["job"])} for item in items]
            session.screen.rows(rows, _COLUMNS, empty="The service has no read models.")
            return
        item = api.get(_of(name))
        parked = api.get(f"{_of(name)}/parked")["items"] if item["parkedEvents"] else []
    if session.as_json:
        session.screen.result({**item, "parked": parked})
        return
    session.screen.fields({**item, "doing": _doing(item["job"])}, _COLUMNS)
    if parked:
        session.screen.rows(parked, _PARKED, empty="")
        session.screen.say(f"Once the cause is mended: dcf projections replay-parked {name}", "yellow")


def _names(command: Callable[..., int]) -> Callable[..., int]:
    """The arguments of a job on some read models, or on all."""
    command = click.option("--all", "everything", is_flag=True, help="Every read model, one after another.")(command)
    return click.argument("names", nargs=-1)(command)


def _waiting(command: Callable[..., int]) -> Callable[..., int]:
    command = click.option("--no-wait", is_flag=True, help="Only ask for it; `status` shows how it gets on.")(command)
    return click.option(
        "--timeout",
        type=_Seconds(min=0, min_open=True),
        default=TIMEOUT_SECONDS,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait; the job goes on.",
    )(command)


@projections.command(
    epilog=epilog("dcf projections rebuild deployments", "dcf projections rebuild --all --no-wait", exit_codes=True)
)
@_names
@_waiting
@shown
@click.pass_obj
def rebuild(session: Session, names: Sequence[str], everything: bool, no_wait: bool, timeout: float) -> int:
    """Make read models anew from the log beside what is served, verify them, and serve them. Nobody who reads notices."""
    return _do(session, "rebuild", _chosen(names, everything), no_wait=no_wait, timeout=timeout)


@projections.command(epilog=epilog("dcf projections verify deployments", "dcf projections verify --all"))
@_names
@_waiting
@shown
@click.pass_obj
def verify(session: Session, names: Sequence[str], everything: bool, no_wait: bool, timeout: float) -> int:
    """Compare read models with the log: made anew, compared row by row, and dropped again. Exit code 1: they differ."""
    return _do(session, "verify", _chosen(names, everything), no_wait=no_wait, timeout=timeout)


@projections.command("replay-parked", epilog=epilog("dcf projections replay-parked deployments"))
@_names
@_waiting
@shown
@click.pass_obj
def replay_parked(session: Session, names: Sequence[str], everything: bool, no_wait: bool, timeout: float) -> int:
    """Apply the events that could not be applied, once the cause is mended. Exit code 1: some still cannot."""
    return _do(session, "replay-parked", _chosen(names, everything), no_wait=no_wait, timeout=timeout)


@projections.command("drop-old", epilog=epilog("dcf projections drop-old --all"))
@_names
@_waiting
@shown
@click.pass_obj
def drop_old(session: Session, names: Sequence[str], everything: bool, no_wait: bool, timeout: float) -> int:
    """Drop the builds that are not served. Then there is nothing to switch back to."""
    return _do(session, "drop-old", _chosen(names, everything), no_wait=no_wait, timeout=timeout)


@projections.command("switch-back", epilog=epilog("dcf projections switch-back deployments"))
@click.argument("name")
@_waiting
@shown
@click.pass_obj
def switch_back(session: Session, name: str, no_wait: bool, timeout: float) -> int:
    """Serve the build again that was served before, once it has caught up."""
    return _do(session, "switch-back", [name], no_wait=no_wait, timeout=timeout)


@projections.command(epilog=epilog("dcf projections cancel deployments"))
@click.argument("name")
@_waiting
@shown
@click.pass_obj
def cancel(session: Session, name: str, no_wait: bool, timeout: float) -> int:
    """Give up the job of a read model; what it has made is dropped, and what is served stays."""
    with operator_api(session) as api:
        job = api.write("POST", f"{_of(name)}/cancel")
        if not no_wait:
            job = _followed(api, session.screen, job, timeout)
    session.screen.result(job, f"{name}: {_outcome(job)}")
    return exits.OK


def _chosen(names: Sequence[str], everything: bool) -> Sequence[str] | None:
    """The names; None stands for all of them."""
    if bool(names) == everything:
        raise Trouble("Name the read models, or say --all.", then="dcf projections status", exit_code=exits.USAGE)
    return None if everything else names


def _of(name: str) -> str:
    """Its address; what can be no name would lead elsewhere. Raises Trouble."""
    if not re.fullmatch("[a-z_]+", name):
        raise Trouble(f"There is no read model {name!r}.", then="dcf projections status")
    return f"{_AT}/{name}"


def _do(session: Session, what: str, names: Sequence[str] | None, *, no_wait: bool, timeout: float) -> int:
    """Have it done for each, one after another; whether all went well, as an exit code."""
    jobs = []
    with operator_api(session) as api:
        for name in names or [item["name"] for item in api.get(_AT)["items"]]:
            job = api.write("POST", f"{_of(name)}/{what}")
            if not no_wait:
                job = _followed(api, session.screen, job, timeout)
            session.screen.say(f"{name}: {_outcome(job)}", "plain" if _is_good(job) else "red")
            jobs.append(job)
    session.screen.result(jobs[0] if len(jobs) == 1 else {"items": jobs})
    return exits.OK if all(map(_is_good, jobs)) else exits.FAILED


def _followed(api: Api, screen: Screen, job: Json, seconds_max: float) -> Json:
    """The job as it ended. Raises Trouble when that takes too long, or whoever watches has seen enough."""
    end, told = time.monotonic() + seconds_max, ""
    again = f"dcf projections status {job['name']}"
    try:
        while job["endedAt"] is None:
            if screen.is_live:
                screen.progress(f"{job['name']}  {_progress(job)}")
            elif job["step"] != told:
                told = job["step"]
                screen.say(f"{job['name']}: {_doing(job)}")
            if time.monotonic() > end:
                raise Trouble(
                    f"{job['name']} is {_doing(job)} and not over after {seconds_max:g} s; it goes on.",
                    then=again,
                    exit_code=exits.TIMED_OUT,
                )
            time.sleep(LOOK_SECONDS)
            job = api.get(f"{_AT}/jobs/{job['jobId']}")
    except KeyboardInterrupt:
        raise Trouble("You stopped watching; the job goes on.", then=again, exit_code=exits.INTERRUPTED) from None
    return job


def _progress(job: Json) -> str:
    """A bar while the log is scanned, and what comes after in words."""
    if job["step"] != "scanning":
        return _doing(job)
    done = round(job["share"] * _BAR_WIDTH)
    text = f"[{'█' * done}{'░' * (_BAR_WIDTH - done)}] {job['share']:4.0%}"
    if job["eventsPerSecond"]:
        text += f"  {job['eventsPerSecond']:,.0f} events/s  {job['secondsLeft']:.0f} s left"
    return text


def _doing(job: Json | None) -> str:
    """What a job does, or came to, in words."""
    if job is None:
        return ""
    text = f"{job['purpose'].replace('_', ' ')}: {job['step'].replace('_', ' ')}"
    return f"{text} {job['share']:.0%}" if job["step"] == "scanning" else text


def _outcome(job: Json) -> str:
    findings = job["findings"] or {}
    parts = [_doing(job), job["problem"]]
    if "rows" in findings:
        parts.append(f"{findings['rows']} rows, {len(findings['differing'])} differ, {findings['refolded']} refolded")
    if "applied" in findings:
        parts.append(f"{findings['applied']} applied, {findings['left']} left")
    if "dropped" in findings:
        parts.append(", ".join(findings["dropped"]) or "nothing to drop")
    return "; ".join(part for part in parts if part)


def _is_good(job: Json) -> bool:
    """It is done, or still under way, and has found nothing wrong."""
    findings = job["findings"] or {}
    wrong = findings.get("wrong") or findings.get("left") or (job["purpose"] == "verify" and findings.get("differing"))
    return job["step"] not in ("failed", "canceled") and not wrong
