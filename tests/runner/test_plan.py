"""The table of the plan: what is recorded, what the cloud shows, what to do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.deployment import Deployment, Failure
from domain.release import PinnedImage
from providers.provider import Build, Bundle, Image, Observation, Service
from runner import plan
from runner.plan import after_refusal, is_overdue, next_step, seconds_max, step_name
from tests.support import a

AT = a.AT
NOTHING = Observation()
UNSEEN = None
BUNDLE = Bundle(location="bundles/1", digest="sha256:b")
IMAGE = Image(reference="images/1", digest="sha256:i")
BUNDLED = Observation(bundle=BUNDLE)

CLAIMED = Deployment(
    exists=True, status="running", release=a.release(), epoch=1, step_since=AT, claimed_at=AT, claims_in_step=1
)


def having(before: Deployment, **changes: Any) -> Deployment:
    return msgspec.structs.replace(before, **changes)


HAS_BUNDLE = having(CLAIMED, bundle_digest="sha256:b", claims_in_step=0)
BUILDING = having(HAS_BUNDLE, build_id="build-1")
BUILT = having(BUILDING, build_succeeded=True)
PUSHED = having(BUILT, image_reference="images/1", image_digest="sha256:i")
RELEASING = having(PUSHED, status="deploying", release_started=True)
APPLIED = having(RELEASING, release_applied=True, url="http://f/", revision="1")
VERIFIED = having(APPLIED, release_verified=True)
WENT_BACK = having(
    CLAIMED,
    release=a.release(image=PinnedImage(reference="images/1", digest="sha256:i")),
    image_reference="images/1",
    image_digest="sha256:i",
)
FAILING = having(BUILDING, build_failure=a.FAILURE)
CANCELING = having(BUILDING, cancel_requested=True)
UNDEPLOYING = having(VERIFIED, status="undeploying", outcome="succeeded")


def build(status: Any, message: str = "", remedy: str = "") -> Observation:
    return Observation(bundle=BUNDLE, build=Build(id="build-1", status=status, message=message, remedy=remedy))


def service(status: Any, *, serving: bool = False, message: str = "", remedy: str = "") -> Observation:
    shown = Service(status=status, url="http://f/", revision="1", serving=serving, message=message, remedy=remedy)
    return Observation(bundle=BUNDLE, image=IMAGE, service=shown)


WITH_IMAGE = Observation(bundle=BUNDLE, build=Build(id="build-1", status="succeeded"), image=IMAGE)
WITHDRAWN = {"withdrawn": True, "withdrawals": 1}
LATE = having(VERIFIED, failure_found=a.FAILURE)
SERVES = service("healthy", serving=True)
SETTLED = timedelta(seconds=plan.SETTLE_SECONDS + 1)
A_DAY = timedelta(days=1)

Row = tuple[str, Deployment, Observation | None, plan.Step]

FORWARD: list[Row] = [
    ("nothing was done", CLAIMED, NOTHING, plan.Bundle()),
    ("died after bundling", CLAIMED, BUNDLED, plan.NoteBundled(location="bundles/1", digest="sha256:b")),
    ("bundled", HAS_BUNDLE, BUNDLED, plan.StartBuild()),
    ("bundled, and it does not show yet", HAS_BUNDLE, NOTHING, plan.StartBuild()),
    ("died after starting the build", HAS_BUNDLE, build("running"), plan.NoteBuildStarted(build_id="build-1")),
    ("died until the build was over", HAS_BUNDLE, build("succeeded"), plan.NoteBuildStarted(build_id="build-1")),
    ("builds", BUILDING, build("running"), plan.AwaitBuild()),
    ("builds, and it does not show yet", BUILDING, NOTHING, plan.AwaitBuild()),
    ("has built", BUILDING, build("succeeded"), plan.NoteBuildSucceeded(build_id="build-1", toolchain=None)),
    ("built", BUILT, build("succeeded"), plan.Push()),
    ("died after pushing", BUILT, WITH_IMAGE, plan.NotePushed(reference="images/1", digest="sha256:i")),
    ("pushed", PUSHED, WITH_IMAGE, plan.NoteReleaseStarted()),
    ("releases", RELEASING, WITH_IMAGE, plan.Apply()),
    ("died after applying", RELEASING, service("starting"), plan.NoteApplied(url="http://f/", revision="1")),
    ("comes up", APPLIED, service("starting"), plan.AwaitHealthy()),
    ("comes up, and it does not show yet", APPLIED, WITH_IMAGE, plan.AwaitHealthy()),
    ("came up", APPLIED, service("healthy"), plan.NoteVerified()),
    ("verified", VERIFIED, service("healthy"), plan.Promote()),
    ("verified, and restarted since", VERIFIED, service("starting"), plan.AwaitHealthy()),
    ("died after promoting", VERIFIED, service("healthy", serving=True), plan.NoteActivated()),
    ("goes back, and builds nothing", WENT_BACK, NOTHING, plan.NoteReleaseStarted()),
    ("goes back, and releases", having(WENT_BACK, status="deploying", release_started=True), NOTHING, plan.Apply()),
    ("serves, and struggles", VERIFIED, service("unhealthy", serving=True), plan.NoteActivated()),
]
ENDING: list[Row] = [
    ("fails, and shows its build", FAILING, build("failed"), plan.Withdraw()),
    ("fails, and shows nothing yet", FAILING, NOTHING, plan.Withdraw()),
    ("fails, and was withdrawn", having(FAILING, **WITHDRAWN), NOTHING, plan.Fail(failure=a.FAILURE)),
    ("fails, and still shows", having(FAILING, **WITHDRAWN), BUNDLED, plan.AwaitGone()),
    (
        "fails, and a finished build is a record",
        having(FAILING, **WITHDRAWN),
        Observation(build=Build(id="b", status="failed")),
        plan.Fail(failure=a.FAILURE),
    ),
    ("is canceled while it builds", CANCELING, build("running"), plan.Withdraw()),
    ("is canceled, and was withdrawn", having(CANCELING, **WITHDRAWN), NOTHING, plan.Cancel()),
    ("is canceled once verified", having(VERIFIED, cancel_requested=True), service("healthy"), plan.Promote()),
    (
        "is canceled while it serves",
        having(VERIFIED, cancel_requested=True),
        service("healthy", serving=True),
        plan.NoteActivated(),
    ),
    (
        "fails, and is canceled too",
        having(FAILING, cancel_requested=True, **WITHDRAWN),
        NOTHING,
        plan.Fail(failure=a.FAILURE),
    ),
    ("fails when it serves already", LATE, service("healthy", serving=True), plan.NoteActivated()),
    ("fails when it may be about to serve", LATE, service("healthy"), plan.AwaitSettled()),
    ("fails when it may serve, and cannot be seen", LATE, UNSEEN, plan.LookAgain()),
    ("fails, and has not been let serve", having(LATE, step_since=AT - SETTLED), service("healthy"), plan.Withdraw()),
    ("fails, and serves after its time", having(LATE, step_since=AT - A_DAY), SERVES, plan.NoteActivated()),
    ("fails, and serves late", having(LATE, step_since=AT - SETTLED), SERVES, plan.NoteActivated()),
    (
        "fails, and was never seen again",
        having(LATE, step_since=AT - A_DAY),
        UNSEEN,
        plan.Fail(failure=a.FAILURE, remaining=(plan.UNSEEN,)),
    ),
    (
        "fails, was taken away in part, and shows late",
        having(LATE, withdrawals=1, remaining=("image",)),
        SERVES,
        plan.Withdraw(),
    ),
    ("keeps something", having(FAILING, withdrawals=1, remaining=("image",)), WITH_IMAGE, plan.Withdraw()),
    (
        "keeps something for good",
        having(FAILING, withdrawals=5, remaining=("image",)),
        WITH_IMAGE,
        plan.Fail(failure=a.FAILURE, remaining=("image",)),
    ),
    ("is undeployed", UNDEPLOYING, service("healthy", serving=True), plan.Withdraw()),
    ("is undeployed, and still shows", having(UNDEPLOYING, **WITHDRAWN), service("stopped"), plan.AwaitGone()),
    ("is undeployed, and is gone", having(UNDEPLOYING, **WITHDRAWN), NOTHING, plan.NoteUndeployed()),
    ("is undeployed, and cannot be seen", having(UNDEPLOYING, **WITHDRAWN), UNSEEN, plan.LookAgain()),
]
NOTHING_TO_DO: list[Row] = [
    ("waits in the queue", Deployment(exists=True, release=a.release()), NOTHING, plan.Leave()),
    ("has succeeded", having(VERIFIED, status="succeeded", outcome="succeeded"), service("healthy"), plan.Leave()),
    ("has failed", having(FAILING, status="failed", outcome="failed"), BUNDLED, plan.Leave()),
    ("waits to be undeployed", having(UNDEPLOYING, status="undeploy_queued"), NOTHING, plan.Leave()),
]


def named(table: list[Row]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("recorded", "observed", "step"), [row[1:] for row in table], ids=[row[0] for row in table]
    )


class TestNextStep:
    @named(FORWARD)
    def test_goes_forward_from_what_the_cloud_shows(
        self, recorded: Deployment, observed: Observation | None, step: plan.Step
    ) -> None:
        assert next_step(recorded, observed, AT) == step

    @named(ENDING)
    def test_takes_back_what_ends(self, recorded: Deployment, observed: Observation | None, step: plan.Step) -> None:
        assert next_step(recorded, observed, AT) == step

    @named(NOTHING_TO_DO)
    def test_leaves_alone_what_needs_no_runner(
        self, recorded: Deployment, observed: Observation | None, step: plan.Step
    ) -> None:
        assert next_step(recorded, observed, AT) == step

    @pytest.mark.parametrize("recorded", [CLAIMED, HAS_BUNDLE, BUILDING, BUILT, PUSHED, RELEASING, APPLIED, VERIFIED])
    def test_does_nothing_while_the_cloud_cannot_be_asked(self, recorded: Deployment) -> None:
        assert next_step(recorded, UNSEEN, AT) == plan.LookAgain()

    def test_hands_the_compilers_words_on(self) -> None:
        step = next_step(BUILDING, build("failed", "main.dart:1: Error", "Mend it."), AT)

        failure = Failure(code="build_failed", step="build", message="main.dart:1: Error", remedy="Mend it.")
        assert step == plan.NoteBuildFailed(build_id="build-1", failure=failure)

    @pytest.mark.parametrize(
        ("recorded", "observed", "code"),
        [
            (BUILDING, build("stopped"), "build_stopped"),
            (APPLIED, service("unhealthy"), "release_unhealthy"),
            (APPLIED, service("stopped"), "release_stopped"),
            (VERIFIED, service("unhealthy"), "release_unhealthy"),
        ],
    )
    def test_finds_why_it_fails_and_what_to_do(self, recorded: Deployment, observed: Observation, code: str) -> None:
        step = next_step(recorded, observed, AT)

        assert isinstance(step, plan.NoteFailure)
        assert step.failure.code == code
        assert step.failure.remedy

    def test_names_all_that_shows_when_an_undeployment_has_had_its_time(self) -> None:
        late = AT + timedelta(seconds=plan.WITHDRAW_SECONDS_MAX + 1)

        step = next_step(having(UNDEPLOYING, **WITHDRAWN), service("stopped"), late)

        assert isinstance(step, plan.FailUndeploy)
        assert step.remaining == ("service 1", "image images/1", "bundle bundles/1")


STEPS = {
    "bundle": (CLAIMED, NOTHING),
    "build not started": (HAS_BUNDLE, BUNDLED),
    "build": (BUILDING, build("running")),
    "push": (BUILT, build("succeeded")),
    "release": (RELEASING, WITH_IMAGE),
    "verify": (APPLIED, service("starting")),
    "activate": (VERIFIED, service("healthy")),
    "anything, unseen": (BUILT, UNSEEN),
}


class TestALimit:
    @pytest.mark.parametrize(("recorded", "observed"), STEPS.values(), ids=STEPS.keys())
    def test_turns_a_stuck_step_into_a_failure_that_names_it(
        self, recorded: Deployment, observed: Observation | None
    ) -> None:
        limit = timedelta(seconds=seconds_max(recorded))

        in_time = next_step(recorded, observed, AT + limit)
        late = next_step(recorded, observed, AT + limit + timedelta(seconds=1))

        assert not isinstance(in_time, plan.NoteFailure)
        assert isinstance(late, plan.NoteFailure)
        assert (late.failure.code, late.failure.step) == ("step_timed_out", step_name(recorded))

    def test_never_discards_what_was_done_in_the_end(self) -> None:
        much_later = AT + timedelta(days=1)

        assert isinstance(next_step(BUILDING, build("succeeded"), much_later), plan.NoteBuildSucceeded)
        assert isinstance(next_step(VERIFIED, service("healthy", serving=True), much_later), plan.NoteActivated)

    def test_gives_a_runner_that_takes_over_its_chance_a_few_times(self) -> None:
        taken_at = AT + timedelta(hours=1)
        taken = having(BUILT, claimed_at=taken_at, claims_in_step=1)
        often = having(taken, claims_in_step=plan.TAKEOVERS_MAX + 1)

        assert not is_overdue(taken, taken_at + timedelta(seconds=30))
        assert is_overdue(taken, taken_at + timedelta(seconds=90))
        assert is_overdue(often, taken_at)


class TestAfterRefusal:
    def test_is_why_it_fails(self) -> None:
        assert after_refusal(BUILT, NOTHING, a.FAILURE) == plan.NoteFailure(failure=a.FAILURE)

    def test_ends_what_was_ending_with_its_own_reason(self) -> None:
        other = msgspec.structs.replace(a.FAILURE, code="permission_denied")

        assert after_refusal(FAILING, BUNDLED, other) == plan.Fail(failure=a.FAILURE, remaining=("bundle bundles/1",))
        assert after_refusal(CANCELING, UNSEEN, other) == plan.Cancel(remaining=(plan.UNSEEN,))
        assert after_refusal(UNDEPLOYING, BUNDLED, other) == plan.FailUndeploy(
            failure=other, remaining=("bundle bundles/1",)
        )


def _some(values: list[Any]) -> st.SearchStrategy[Any]:
    return st.sampled_from([None, *values])


DEPLOYMENTS = st.builds(
    having,
    st.sampled_from([CLAIMED, HAS_BUNDLE, BUILDING, BUILT, PUSHED, RELEASING, APPLIED, VERIFIED, UNDEPLOYING]),
    status=st.sampled_from(["running", "deploying", "undeploying", "queued", "failed"]),
    failure_found=_some([a.FAILURE]),
    cancel_requested=st.booleans(),
    withdrawn=st.booleans(),
    withdrawals=st.integers(0, 7),
    claims_in_step=st.integers(0, 7),
    remaining=st.sampled_from([(), ("image",)]),
)
OBSERVATIONS = st.none() | st.builds(
    Observation,
    bundle=_some([BUNDLE]),
    build=_some([Build(id="b", status=status) for status in ("running", "succeeded", "failed", "stopped")]),
    image=_some([IMAGE]),
    service=_some(
        [
            Service(status=status, url="http://f/", revision="1", serving=serving)
            for status in ("starting", "healthy", "unhealthy", "stopped")
            for serving in (False, True)
        ]
    ),
)


class TestAnyPair:
    @given(recorded=DEPLOYMENTS, observed=OBSERVATIONS, seconds=st.integers(0, 5_000))
    def test_has_a_step_and_nothing_is_begun_that_shows(
        self, recorded: Deployment, observed: Observation | None, seconds: int
    ) -> None:
        step = next_step(recorded, observed, AT + timedelta(seconds=seconds))

        match step:
            case plan.Bundle():
                assert observed is not None
                assert observed.bundle is None
            case plan.StartBuild():
                assert observed is not None
                assert observed.build is None
            case plan.Push():
                assert observed is not None
                assert observed.image is None
            case plan.Apply():
                assert observed is not None
                assert observed.service is None
            case plan.Promote():
                assert recorded.release_verified
                assert recorded.failing is None
            case plan.NoteActivated():
                assert recorded.release_verified
                assert recorded.failing is None or not recorded.withdrawals
            case _:
                pass
