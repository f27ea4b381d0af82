"""What to do next for a deployment, given what is recorded of it and what the cloud shows: pure, total, safe to repeat.

What the cloud shows comes first: whatever a runner began before it died is found and recorded, never begun again.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from domain.deployment import Deployment, Failure
from domain.release import Toolchain
from providers.provider import Build, Observation, Service

StepName = Literal["bundle", "build", "push", "release", "verify", "activate", "withdraw"]

# How long a step may take, in seconds, counted from when the log recorded that it began.
BUNDLE_SECONDS_MAX = 120.0
BUILD_START_SECONDS_MAX = 120.0
BUILD_SECONDS_MAX = 900.0
PUSH_SECONDS_MAX = 300.0
RELEASE_SECONDS_MAX = 300.0
# What verifying takes beyond the release's own start limit.
VERIFY_SECONDS_MORE = 60.0
ACTIVATE_SECONDS_MAX = 120.0
WITHDRAW_SECONDS_MAX = 300.0
# Clouds show what was changed after a moment. Whether a release was let serve is known once they had so long to show it.
SETTLE_SECONDS = 15.0
# What was made may remain after this many tries to take it away; then it is named and left.
WITHDRAWALS_MAX = 5
# A runner that takes over a step nobody was working on has at least this long for it, for the first few runners.
TAKEOVER_SECONDS_MIN = 60.0
TAKEOVERS_MAX = 5

UNSEEN = "whatever carries the deployment's id (the cloud did not show what)"


class _Step(msgspec.Struct, frozen=True, kw_only=True, tag_field="step"):
    """One thing to do. What begins with Note is only recorded; what begins with Await is looked at again later."""


class Bundle(_Step, frozen=True, kw_only=True, tag=True):
    """Put the sources where the cloud's builder can read them."""


class NoteBundled(_Step, frozen=True, kw_only=True, tag=True):
    location: str
    digest: str


class StartBuild(_Step, frozen=True, kw_only=True, tag=True):
    pass


class NoteBuildStarted(_Step, frozen=True, kw_only=True, tag=True):
    build_id: str


class AwaitBuild(_Step, frozen=True, kw_only=True, tag=True):
    pass


class NoteBuildSucceeded(_Step, frozen=True, kw_only=True, tag=True):
    build_id: str
    toolchain: Toolchain | None


class NoteBuildFailed(_Step, frozen=True, kw_only=True, tag=True):
    build_id: str
    failure: Failure


class Push(_Step, frozen=True, kw_only=True, tag=True):
    pass


class NotePushed(_Step, frozen=True, kw_only=True, tag=True):
    reference: str
    digest: str


class NoteReleaseStarted(_Step, frozen=True, kw_only=True, tag=True):
    pass


class Apply(_Step, frozen=True, kw_only=True, tag=True):
    """Start the release beside the one that serves."""


class NoteApplied(_Step, frozen=True, kw_only=True, tag=True):
    url: str
    revision: str


class AwaitHealthy(_Step, frozen=True, kw_only=True, tag=True):
    pass


class NoteVerified(_Step, frozen=True, kw_only=True, tag=True):
    pass


class Promote(_Step, frozen=True, kw_only=True, tag=True):
    """Let the release serve."""


class NoteActivated(_Step, frozen=True, kw_only=True, tag=True):
    """The outcome: succeeded."""


class AwaitSettled(_Step, frozen=True, kw_only=True, tag=True):
    """It is going to fail, unless a call to let it serve turns out to have worked after all."""


class NoteFailure(_Step, frozen=True, kw_only=True, tag=True):
    """It cannot go on; what it made is withdrawn from here on, unless it turns out to serve."""

    failure: Failure


class Withdraw(_Step, frozen=True, kw_only=True, tag=True):
    """Stop the build, and take away whatever the deployment made."""


class AwaitGone(_Step, frozen=True, kw_only=True, tag=True):
    """What was withdrawn still shows."""


class Fail(_Step, frozen=True, kw_only=True, tag=True):
    """The outcome: failed."""

    failure: Failure
    remaining: tuple[str, ...] = ()


class Cancel(_Step, frozen=True, kw_only=True, tag=True):
    """The outcome: canceled."""

    remaining: tuple[str, ...] = ()


class NoteUndeployed(_Step, frozen=True, kw_only=True, tag=True):
    pass


class FailUndeploy(_Step, frozen=True, kw_only=True, tag=True):
    failure: Failure
    remaining: tuple[str, ...]


class LookAgain(_Step, frozen=True, kw_only=True, tag=True):
    """The cloud could not be asked; ask it again."""


class Leave(_Step, frozen=True, kw_only=True, tag=True):
    """There is nothing for a runner to do."""


Step = (
    Bundle
    | NoteBundled
    | StartBuild
    | NoteBuildStarted
    | AwaitBuild
    | NoteBuildSucceeded
    | NoteBuildFailed
    | Push
    | NotePushed
    | NoteReleaseStarted
    | Apply
    | NoteApplied
    | AwaitHealthy
    | NoteVerified
    | Promote
    | NoteActivated
    | AwaitSettled
    | NoteFailure
    | Withdraw
    | AwaitGone
    | Fail
    | Cancel
    | NoteUndeployed
    | FailUndeploy
    | LookAgain
    | Leave
)
# Only these take time, so only these can take too long.
_TAKES_TIME = (Bundle, StartBuild, AwaitBuild, Push, Apply, AwaitHealthy, Promote, LookAgain)


def next_step(recorded: Deployment, observed: Observation | None, at: datetime) -> Step:
    """The step for a deployment a runner has claimed. `observed` is None when the cloud could not be asked."""
    match recorded.status:
        case "undeploying":
            return _undeploy(recorded, observed, at)
        case "running" | "deploying" if is_withdrawing(recorded):
            return _take_back(recorded, observed, at)
        case "running" | "deploying":
            return _within_limit(_forward(recorded, observed), recorded, at)
        case _:
            return Leave()


def after_refusal(
    recorded: Deployment, observed: Observation | None, failure: Failure
) -> NoteFailure | Fail | Cancel | FailUndeploy:
    """What follows when the cloud says no: the deployment is going to fail; one that is ending already ends now."""
    if recorded.status == "undeploying":
        return FailUndeploy(failure=failure, remaining=_left(recorded, observed))
    if not is_withdrawing(recorded):
        return NoteFailure(failure=failure)
    return _outcome(recorded, _left(recorded, observed))


def _left(recorded: Deployment, observed: Observation | None) -> tuple[str, ...]:
    """What remains when withdrawing is given up. Unless it was withdrawn once, a cloud that shows nothing proves nothing:
    what was begun a moment ago need not show yet."""
    seen = remaining_of(observed)
    return seen if recorded.withdrawn else seen or recorded.remaining or (UNSEEN,)


def is_withdrawing(recorded: Deployment) -> bool:
    """Whether what it made is being taken away.

    Once the release is verified a runner may have let it serve and stopped the former one, whatever the cloud shows
    at this instant; so from there on a request to cancel comes too late, and is refused.
    """
    ending = recorded.failing is not None or recorded.is_canceling
    return recorded.status == "undeploying" or (recorded.status in ("running", "deploying") and ending)


def step_name(recorded: Deployment) -> StepName:
    """What is being worked on, in the words of the timeline."""
    if is_withdrawing(recorded):
        return "withdraw"
    if not recorded.image_reference:
        return _step_before_the_image(recorded)
    if not recorded.release_applied:
        return "release"
    return "activate" if recorded.release_verified else "verify"


def _step_before_the_image(recorded: Deployment) -> StepName:
    if not recorded.bundle_digest:
        return "bundle"
    return "push" if recorded.build_succeeded else "build"


def seconds_max(recorded: Deployment) -> float:
    """How long the step under way may take."""
    match step_name(recorded):
        case "bundle":
            return BUNDLE_SECONDS_MAX
        case "build":
            return BUILD_SECONDS_MAX if recorded.build_id else BUILD_START_SECONDS_MAX
        case "push":
            return PUSH_SECONDS_MAX
        case "release":
            return RELEASE_SECONDS_MAX
        case "verify":
            start = recorded.release.start_seconds_max if recorded.release else 0
            return start + VERIFY_SECONDS_MORE
        case "activate":
            return ACTIVATE_SECONDS_MAX
        case "withdraw":
            return WITHDRAW_SECONDS_MAX


def is_overdue(recorded: Deployment, at: datetime) -> bool:
    """Whether the step under way has had its time.

    The time passes while no runner works on it too; but one that has just taken it over gets a chance of its own,
    so that an outage of the runners alone fails no deployment.
    """
    if recorded.step_since is None or at - recorded.step_since <= timedelta(seconds=seconds_max(recorded)):
        return False
    if recorded.claimed_at is None or not 0 < recorded.claims_in_step <= TAKEOVERS_MAX:
        return True
    return at - recorded.claimed_at > timedelta(seconds=min(TAKEOVER_SECONDS_MIN, seconds_max(recorded)))


def remaining_of(observed: Observation | None) -> tuple[str, ...]:
    """The names of what still carries the deployment's id."""
    if observed is None:
        return (UNSEEN,)
    names = (
        f"service {observed.service.revision or observed.service.url}" if observed.service else "",
        f"image {observed.image.reference}" if observed.image else "",
        # A build that is over is a record of what was done, which clouds keep; nothing is left running.
        f"build {observed.build.id}" if observed.build and observed.build.status == "running" else "",
        f"bundle {observed.bundle.location}" if observed.bundle else "",
    )
    return tuple(name for name in names if name)


def _within_limit(step: Step, recorded: Deployment, at: datetime) -> Step:
    if isinstance(step, _TAKES_TIME) and is_overdue(recorded, at):
        return NoteFailure(failure=_timed_out(recorded))
    return step


def _timed_out(recorded: Deployment) -> Failure:
    name = step_name(recorded)
    return Failure(
        code="step_timed_out",
        step=name,
        message=f"The step “{name}” was not done within {seconds_max(recorded):g} seconds.",
        remedy="The deployment's events and build log say what it waited for; deploy again once that is mended.",
    )


def _forward(recorded: Deployment, observed: Observation | None) -> Step:
    if observed is None:
        return LookAgain()
    match step_name(recorded):
        case "bundle":
            return _bundle(observed)
        case "build":
            return _build(recorded, observed.build)
        case "push":
            return _push(observed)
        case "release":
            return _release(recorded, observed.service)
        case "verify":
            return _verify(observed.service)
        case "activate" | "withdraw":
            return _activate(observed.service)


def _bundle(observed: Observation) -> Step:
    if observed.bundle is None:
        return Bundle()
    return NoteBundled(location=observed.bundle.location, digest=observed.bundle.digest)


def _build(recorded: Deployment, build: Build | None) -> Step:
    match recorded.build_id, build:
        case "", None:
            return StartBuild()
        case "", Build(id=build_id):
            return NoteBuildStarted(build_id=build_id)  # A runner died between starting and recording.
        case _, None | Build(status="running"):
            return AwaitBuild()  # What was just started need not show yet.
        case _, Build(status="succeeded", id=build_id, toolchain=toolchain):
            return NoteBuildSucceeded(build_id=build_id, toolchain=toolchain)
        case _, Build(status="failed") as failed:
            return NoteBuildFailed(build_id=failed.id, failure=_build_failure(failed))
        case _:
            return NoteFailure(failure=_BUILD_STOPPED)


_BUILD_STOPPED = Failure(
    code="build_stopped",
    step="build",
    message="The build was stopped, and not by us.",
    remedy="Look in the cloud's own audit trail for who stopped it, then deploy again.",
)


def _build_failure(build: Build) -> Failure:
    return Failure(
        code="build_failed",
        step="build",
        message=build.message or "The build failed without a message.",
        remedy=build.remedy or "Read the build log, mend the source, upload it and deploy again.",
    )


def _push(observed: Observation) -> Step:
    if observed.image is None:
        return Push()
    return NotePushed(reference=observed.image.reference, digest=observed.image.digest)


def _release(recorded: Deployment, service: Service | None) -> Step:
    if not recorded.release_started:
        return NoteReleaseStarted()
    if service is None:
        return Apply()
    return NoteApplied(url=service.url, revision=service.revision)


def _verify(service: Service | None) -> Step:
    if service is None:
        return AwaitHealthy()  # What was just applied need not show yet.
    match service.status:
        case "starting":
            return AwaitHealthy()
        case "healthy":
            return NoteVerified()
        case "unhealthy" | "stopped":
            return NoteFailure(failure=_unhealthy(service, "verify"))


def _activate(service: Service | None) -> Step:
    if service is None:
        return AwaitHealthy()
    if service.serving:
        return NoteActivated()
    match service.status:
        case "starting":
            return AwaitHealthy()
        case "healthy":
            return Promote()
        case "unhealthy" | "stopped":
            return NoteFailure(failure=_unhealthy(service, "activate"))


def _unhealthy(service: Service, step: StepName) -> Failure:
    return Failure(
        code=f"release_{service.status}",
        step=step,
        message=service.message or f"The release came up as {service.status}.",
        remedy=service.remedy
        or "It must listen on 0.0.0.0:$PORT and answer its health path with a status under 500 within its start limit.",
    )


def _take_back(recorded: Deployment, observed: Observation | None, at: datetime) -> Step:
    """Withdraw what was made, then end as failed or canceled, naming what is left.

    What may have been let serve has replaced the release before it, and to take it away would leave nobody serving. So
    whether it serves is found out first, and if it does, it has succeeded.
    """
    if recorded.release_verified and not recorded.withdrawals:
        if observed is not None and observed.service is not None and observed.service.serving:
            return NoteActivated()
        if observed is None and not is_overdue(recorded, at):
            return LookAgain()
        if recorded.step_since is not None and at - recorded.step_since <= timedelta(seconds=SETTLE_SECONDS):
            return AwaitSettled()
    match _withdrawn(recorded, observed, at):
        case tuple() as remaining:
            return _outcome(recorded, remaining)
        case step:
            return step


def _outcome(recorded: Deployment, remaining: tuple[str, ...]) -> Fail | Cancel:
    if recorded.failing is not None:
        return Fail(failure=recorded.failing, remaining=remaining)
    return Cancel(remaining=remaining)


def _undeploy(recorded: Deployment, observed: Observation | None, at: datetime) -> Step:
    match _withdrawn(recorded, observed, at):
        case ():
            return NoteUndeployed()
        case tuple() as remaining:
            return FailUndeploy(failure=withdrawal_incomplete(remaining), remaining=remaining)
        case step:
            return step


def withdrawal_incomplete(remaining: tuple[str, ...]) -> Failure:
    return Failure(
        code="withdrawal_incomplete",
        step="withdraw",
        message=f"Not everything could be taken away; there remains: {', '.join(remaining)}.",
        remedy="Undeploy it again; what remains is tried once more.",
    )


def _withdrawn(
    recorded: Deployment, observed: Observation | None, at: datetime
) -> Withdraw | AwaitGone | LookAgain | tuple[str, ...]:
    """What to do to take everything away; or, when that is over, the names of what remains.

    It is withdrawn at least once whatever the cloud shows: what was begun a moment ago need not show yet.
    """
    tried = recorded.withdrawals >= WITHDRAWALS_MAX or is_overdue(recorded, at)
    if not recorded.withdrawn:
        return (recorded.remaining or _left(recorded, observed)) if tried else Withdraw()
    if observed is not None and not remaining_of(observed):
        return ()
    if tried:
        return remaining_of(observed)
    return LookAgain() if observed is None else AwaitGone()
