"""What a runner recorded of a deployment, against what the present plan would decide from the same state and sights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import msgspec

from domain import deployment as facts
from domain.deployment import Deployment, DeploymentEvent, Failure
from domain.event import Event
from eventstore.codec import tag_of
from eventstore.log import NO_STREAM, StoredEvent
from eventstore.meta import decode_meta
from providers.provider import Build, Bundle, Image, Observation, Service
from runner import plan
from runner.plan import Step, next_step

Plan = Callable[[Deployment, Observation | None, datetime], Step]

_TIMED_OUT = "step_timed_out"
_STOPPED = "build_stopped"
_RELEASE = "release_"

# What each step ends in, once it is done: the events it leads to.
_EVENTS: dict[type[Step], tuple[type[Event], ...]] = {
    plan.Bundle: (facts.DeploymentBundled,),
    plan.NoteBundled: (facts.DeploymentBundled,),
    plan.StartBuild: (facts.BuildStarted,),
    plan.NoteBuildStarted: (facts.BuildStarted,),
    plan.NoteBuildSucceeded: (facts.BuildSucceeded,),
    plan.NoteBuildFailed: (facts.BuildFailed,),
    plan.Push: (facts.ImagePushed,),
    plan.NotePushed: (facts.ImagePushed,),
    plan.NoteReleaseStarted: (facts.ReleaseStarted,),
    plan.Apply: (facts.ReleaseApplied,),
    plan.NoteApplied: (facts.ReleaseApplied,),
    plan.NoteVerified: (facts.ReleaseVerified,),
    plan.Promote: (facts.DeploymentActivated, facts.DeploymentSucceeded),
    plan.NoteActivated: (facts.DeploymentActivated, facts.DeploymentSucceeded),
    plan.NoteFailure: (facts.FailureFound,),
    plan.Withdraw: (facts.DeploymentWithdrawn,),
    plan.Fail: (facts.DeploymentFailed,),
    plan.Cancel: (facts.DeploymentCanceled,),
    plan.NoteUndeployed: (facts.DeploymentUndeployed,),
    plan.FailUndeploy: (facts.UndeployFailed,),
}
_LEADS_TO = {step: frozenset(map(tag_of, events)) for step, events in _EVENTS.items()}
_DECIDED = frozenset[str]().union(*_LEADS_TO.values())


class Recorded(msgspec.Struct, frozen=True):
    """An event of the deployment and its place. `at` is when the log recorded it, `before` the state that whoever
    decided had seen: a request may have come in between."""

    event: DeploymentEvent
    version: int
    position: int
    at: datetime
    before: Deployment


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """One event. `decided` is what the present plan does instead of or as it was done; empty for an event that no plan
    decides about: somebody asked for something, or a runner claimed the deployment or waited."""

    version: int
    position: int
    at: datetime
    event: str
    decided: str = ""
    agrees: bool = True
    because: str = ""


def seen_version(stored: StoredEvent, earlier: Sequence[StoredEvent]) -> int:
    """The version of its stream that an event was decided on. Commands of runners name the last position they had seen."""
    cause = decode_meta(stored.meta).causation_id
    if not cause.isdecimal():
        return stored.version - 1
    return max((event.version for event in earlier if event.position <= int(cause)), default=NO_STREAM)


# Of what is canceled nobody is told why something of it is left.
_UNTOLD = Failure(code="", step="withdraw", message="", remedy="")


def judge(recorded: Iterable[Recorded], decide: Plan = next_step) -> list[Judgement]:
    """Every event in turn, with what the plan makes of the same state and of what the cloud showed, as far as the events
    tell: what a step made was not there before it was recorded, and was there afterwards."""
    judged: list[Judgement] = []
    shown = Observation()
    for one in recorded:
        after = _shown_after(shown, one.event)
        judged.append(_judge(one, shown, after, decide))
        shown = after
    return judged


def _judge(one: Recorded, before: Observation, after: Observation, decide: Plan) -> Judgement:
    judgement = Judgement(version=one.version, position=one.position, at=one.at, event=tag_of(type(one.event)))
    if judgement.event not in _DECIDED or _asked_for(one):
        return judgement
    steps = _steps(one, before, after, decide)
    name = type(steps[0]).__name__
    for step in steps:
        if _leads_to(step, judgement.event, one.event):
            return msgspec.structs.replace(judgement, decided=type(step).__name__)
    because = f"then it became {judgement.event}; today's plan says {', or '.join(_told(step) for step in steps)}"
    return msgspec.structs.replace(judgement, decided=name, agrees=False, because=because)


def _steps(one: Recorded, before: Observation, after: Observation, decide: Plan) -> list[Step]:
    """What the plan says before the step's effect shows, and once it does; the refusals of clouds by their own rule."""
    if (failure := _refusal(one.event)) is not None:
        return [plan.after_refusal(one.before, before, failure)]
    steps = [decide(one.before, after, one.at), decide(one.before, before, one.at)]
    steps = steps if type(steps[0]) is not type(steps[1]) else steps[:1]
    if plan.is_withdrawing(one.before) and getattr(one.event, "remaining", None):
        # A cloud that says no to taking something away ends it at once, and only what is left tells of that.
        failure = getattr(one.event, "failure", None) or _UNTOLD
        steps.append(plan.after_refusal(one.before, before, failure))
    return steps


def _asked_for(one: Recorded) -> bool:
    """Whether it was canceled before any runner had begun, which no plan decides."""
    return isinstance(one.event, facts.DeploymentCanceled) and not one.before.is_under_way


def _leads_to(step: Step, tag: str, event: DeploymentEvent) -> bool:
    if tag not in _LEADS_TO.get(type(step), ()):
        return False
    decided, recorded = getattr(step, "failure", None), getattr(event, "failure", None)
    return decided is None or recorded is None or decided.code == recorded.code


def _told(step: Step) -> str:
    failure = getattr(step, "failure", None)
    return type(step).__name__ + (f" ({failure.code})" if isinstance(failure, Failure) else "")


def _refusal(event: DeploymentEvent) -> Failure | None:
    """The failure, where a cloud's no is what led to it: its code is none of the plan's own."""
    if not isinstance(event, facts.FailureFound):
        return None
    own = event.failure.code in (_TIMED_OUT, _STOPPED) or event.failure.code.startswith(_RELEASE)
    return None if own else event.failure


def _shown_after(shown: Observation, event: DeploymentEvent) -> Observation:  # noqa: C901 - one case an event
    """What the cloud shows once the event is recorded, given what it showed before."""
    replace = msgspec.structs.replace
    service = shown.service or Service(status="starting", url="", revision="")
    match event:
        case facts.DeploymentBundled():
            return replace(shown, bundle=Bundle(location=event.location, digest=event.digest))
        case facts.BuildStarted():
            return replace(shown, build=Build(id=event.build_id, status="running"))
        case facts.BuildSucceeded():
            return replace(shown, build=Build(id=event.build_id, status="succeeded", toolchain=event.toolchain))
        case facts.BuildFailed():
            said = event.failure
            failed = Build(id=event.build_id, status="failed", message=said.message, remedy=said.remedy)
            return replace(shown, build=failed)
        case facts.ImagePushed():
            return replace(shown, image=Image(reference=event.reference, digest=event.digest))
        case facts.ReleaseApplied():
            return replace(shown, service=Service(status="starting", url=event.url, revision=event.revision))
        case facts.ReleaseVerified():
            return replace(shown, service=replace(service, status="healthy"))
        case facts.DeploymentActivated() | facts.DeploymentSucceeded():
            return replace(shown, service=replace(service, status="healthy", serving=True))
        case facts.FailureFound(failure=Failure(code="build_stopped")) if shown.build is not None:
            return replace(shown, build=replace(shown.build, status="stopped"))
        case facts.FailureFound(failure=Failure(code="release_unhealthy", message=message)):
            return replace(shown, service=replace(service, status="unhealthy", message=message))
        case facts.FailureFound(failure=Failure(code="release_stopped", message=message)):
            return replace(shown, service=replace(service, status="stopped", message=message))
        case facts.DeploymentWithdrawn(remaining=()):
            return Observation()
        case _:
            return shown
