"""What runners report: in order, once, and only under the newest claim."""

from __future__ import annotations

from typing import Any

import pytest

from commands.claimed import full, taken
from commands.progress import (
    PROGRESS,
    ClaimDeployment,
    RecordActivated,
    RecordBuildFailed,
    RecordBuildStarted,
    RecordBuildSucceeded,
    RecordBundled,
    RecordCanceled,
    RecordDrift,
    RecordFailed,
    RecordFailureFound,
    RecordPushed,
    RecordReleaseApplied,
    RecordReleaseStarted,
    RecordReleaseVerified,
    RecordUndeployed,
    RecordUndeployFailed,
    RecordWaiting,
    RecordWithdrawn,
)
from domain.deployment import (
    DeploymentUnknown,
    NotClaimable,
    Notice,
    ReportOutOfPlace,
    SlotTaken,
    StaleEpoch,
    TooManyInAccount,
    TooManyRunning,
)
from domain.event import Fact
from domain.release import Toolchain
from tests.support import a
from tests.support.scenario import given

QUEUED = (*a.function_ready(), a.deployment_requested(), a.deployment_queued())
UNDER_WAY = a.deployment_under_way()
BUNDLED = (*UNDER_WAY, a.deployment_bundled())
BUILDING = (*BUNDLED, a.build_started())
BUILT = (*BUILDING, a.build_succeeded())
DEPLOYING = (*BUILT, a.image_pushed(), a.release_started())
APPLIED = (*DEPLOYING, a.release_applied())
VERIFIED = a.deployment_verified()
ACTIVE = a.deployment_active()
UNDEPLOYING = a.deployment_undeploying()
FAILED = (*UNDER_WAY, a.deployment_failed(), a.deployment_ended())
REPLACED = (*ACTIVE, a.function_deployed(a.LATER_DEPLOYMENT_ID, 2, replaced=a.DEPLOYMENT_ID))
UNDEPLOYED = (*UNDEPLOYING, a.deployment_withdrawn(epoch=2), a.deployment_undeployed(), a.function_undeployed())
BACK = (a.slot(release=True),)
IN_ACCOUNT = "deployments_in_account"
ONE_LESS = (a.count("deployments", "running", -1), a.count(IN_ACCOUNT, "local", -1))
ONE_MORE = (a.count("deployments", "running", 1, 2), a.count(IN_ACCOUNT, "local", 1, 2))


class TestClaimDeployment:
    def test_begins_one_that_waits_takes_its_place_and_counts_it(self) -> None:
        given(*QUEUED).when(a.report(ClaimDeployment)).then(
            a.deployment_claimed(),
            claims=(a.slot(),),
            counters=(*ONE_MORE, a.count("deployments", "queued", -1)),
        )

    def test_cancels_one_whose_tenant_was_closed_in_the_same_instant(self) -> None:
        given(*QUEUED, a.tenant_closed()).when(a.report(ClaimDeployment)).then(
            a.cancel_requested(reason="The tenant was closed."),
            a.deployment_canceled(),
            a.deployment_ended(),
            claims=(),
            counters=(a.count("deployments", "queued", -1),),
        )

    def test_undeploys_though_the_tenant_was_closed(self) -> None:
        given(*ACTIVE, a.undeploy_requested(), a.tenant_closed()).when(a.report(ClaimDeployment, epoch=2)).then(
            a.deployment_claimed(epoch=2),
            a.undeploy_started(),
            claims=(a.slot(),),
            counters=ONE_MORE,
        )

    def test_takes_over_from_a_runner_that_is_gone_and_counts_nothing_twice(self) -> None:
        given(*DEPLOYING).when(a.report(ClaimDeployment, epoch=2, runner_id="runner-2")).then(
            a.deployment_claimed(epoch=2, runner_id="runner-2", account=""), claims=(), counters=()
        )

    def test_begins_an_undeployment(self) -> None:
        given(*ACTIVE, a.undeploy_requested()).when(a.report(ClaimDeployment, epoch=2)).then(
            a.deployment_claimed(epoch=2),
            a.undeploy_started(),
            claims=(a.slot(),),
            counters=ONE_MORE,
        )

    def test_counts_no_more_in_one_account_than_the_plan_allows_there(self) -> None:
        plan = a.plan_defined(concurrent_deployments=5, concurrent_deployments_per_account=3)

        given(*QUEUED, plan).when(a.report(ClaimDeployment)).then(
            a.deployment_claimed(),
            counters=(
                a.count("deployments", "running", 1, 5),
                a.count(IN_ACCOUNT, "local", 1, 3),
                a.count("deployments", "queued", -1),
            ),
        )
        assert type(full(a.count(IN_ACCOUNT, "local", 1, 3), 3)) is TooManyInAccount

    def test_gives_back_only_what_was_counted(self) -> None:
        """One that was begun before accounts were counted is not taken from the count of its account."""
        before = (
            *a.function_ready(),
            a.deployment_requested(),
            a.deployment_queued(),
            a.deployment_claimed(account=""),
        )

        given(*before).when(a.report(RecordFailed, failure=a.FAILURE)).then(
            a.deployment_failed(), a.deployment_ended(), claims=BACK, counters=ONE_LESS[:1]
        )

    def test_takes_over_an_undeployment(self) -> None:
        given(*UNDEPLOYING).when(a.report(ClaimDeployment, epoch=3)).then(
            a.deployment_claimed(epoch=3, account=""), claims=(), counters=()
        )

    @pytest.mark.parametrize("epoch", [0, 1])
    def test_refuses_an_epoch_that_is_not_newer(self, epoch: int) -> None:
        given(*UNDER_WAY).when(a.report(ClaimDeployment, epoch=epoch)).then_refused(StaleEpoch)

    @pytest.mark.parametrize("over", [ACTIVE, FAILED, (*UNDEPLOYING, a.undeploy_failed())])
    def test_refuses_one_that_asks_for_no_work(self, over: tuple[Fact, ...]) -> None:
        given(*over).when(a.report(ClaimDeployment, epoch=9)).then_refused(NotClaimable)

    def test_is_told_when_another_deployment_has_the_place(self) -> None:
        assert type(taken(a.slot(), a.LATER_DEPLOYMENT_ID)) is SlotTaken

    def test_is_told_when_the_tenant_has_enough_under_way(self) -> None:
        assert type(full(a.count("deployments", "running", 1, 2), 2)) is TooManyRunning


STEPS: list[tuple[type[Any], tuple[Fact, ...], Fact]] = [
    (RecordBundled, UNDER_WAY, a.deployment_bundled()),
    (RecordBuildStarted, BUNDLED, a.build_started()),
    (RecordBuildSucceeded, BUILDING, a.build_succeeded()),
    (RecordBuildFailed, BUILDING, a.build_failed()),
    (RecordPushed, BUILT, a.image_pushed()),
    (RecordReleaseStarted, (*BUILT, a.image_pushed()), a.release_started()),
    (RecordReleaseApplied, DEPLOYING, a.release_applied()),
    (RecordReleaseVerified, APPLIED, a.release_verified()),
    (RecordFailureFound, DEPLOYING, a.failure_found()),
]
EARLIER: list[tuple[type[Any], tuple[Fact, ...]]] = [
    (RecordBuildStarted, UNDER_WAY),
    (RecordBuildSucceeded, BUNDLED),
    (RecordBuildFailed, BUNDLED),
    (RecordBuildFailed, BUILT),
    (RecordBuildSucceeded, (*BUILDING, a.build_failed())),
    (RecordPushed, BUILDING),
    (RecordReleaseStarted, BUILDING),
    (RecordReleaseStarted, (*BUILDING, a.build_failed())),
    (RecordReleaseApplied, BUILT),
    (RecordReleaseVerified, DEPLOYING),
    (RecordActivated, APPLIED),
]


class TestEveryStep:
    @pytest.mark.parametrize(("report", "before", "fact"), STEPS)
    def test_is_recorded_where_it_belongs(self, report: type[Any], before: tuple[Fact, ...], fact: Fact) -> None:
        given(*before).when(a.report(report)).then(fact, claims=(), counters=())

    @pytest.mark.parametrize(("report", "before", "fact"), STEPS)
    def test_is_recorded_once(self, report: type[Any], before: tuple[Fact, ...], fact: Fact) -> None:
        given(*before, fact).when(a.report(report)).then_nothing()

    @pytest.mark.parametrize(("report", "before"), EARLIER)
    def test_is_refused_before_the_one_it_builds_on(self, report: type[Any], before: tuple[Fact, ...]) -> None:
        given(*before).when(a.report(report)).then_refused(ReportOutOfPlace)

    @pytest.mark.parametrize(
        ("report", "before"),
        [(RecordReleaseVerified, APPLIED), (RecordBuildFailed, BUILDING), (RecordFailureFound, DEPLOYING)],
    )
    def test_decides_nothing_else_of_one_that_was_asked_to_be_canceled(
        self, report: type[Any], before: tuple[Fact, ...]
    ) -> None:
        given(*before, a.cancel_requested()).when(a.report(report)).then_refused(ReportOutOfPlace)

    def test_of_a_build_is_refused_for_another_build(self) -> None:
        given(*BUILDING).when(a.report(RecordBuildSucceeded, build_id="build-2")).then_refused(ReportOutOfPlace)
        given(*BUILDING).when(a.report(RecordBuildFailed, build_id="build-2")).then_refused(ReportOutOfPlace)

    def test_of_bundling_again_is_recorded_until_the_build_begins(self) -> None:
        other = "sha256:" + "1" * 64

        given(*BUNDLED).when(a.report(RecordBundled, digest=other)).then(a.deployment_bundled(digest=other))
        given(*BUILDING).when(a.report(RecordBundled, digest=other)).then_refused(ReportOutOfPlace)

    def test_of_a_build_begun_again_is_recorded_until_it_is_done(self) -> None:
        given(*BUILDING).when(a.report(RecordBuildStarted, build_id="build-2")).then(
            a.build_started(build_id="build-2")
        )
        given(*BUILT).when(a.report(RecordBuildStarted, build_id="build-2")).then_refused(ReportOutOfPlace)


class TestRecordBuildSucceeded:
    def test_warns_when_the_toolchain_is_not_the_runtime_chosen(self) -> None:
        stand_in = Toolchain(engine="stand-in", version="3.7.3", stand_in=True)
        message = "The function was built with Dart 3.7.3; the runtime chosen is 3.11.0."
        warning = Notice(code="toolchain_differs", message=message)

        given(*BUILDING).when(a.report(RecordBuildSucceeded, toolchain=stand_in)).then(
            a.build_succeeded(toolchain=stand_in, warnings=(warning,))
        )

    def test_says_nothing_of_a_toolchain_that_is_not_known(self) -> None:
        given(*BUILDING).when(a.report(RecordBuildSucceeded, toolchain=None)).then(a.build_succeeded(toolchain=None))


class TestRecordActivated:
    def test_ends_in_success_and_makes_it_the_active_one(self) -> None:
        given(*VERIFIED).when(a.report(RecordActivated)).then(
            a.deployment_activated(),
            a.deployment_succeeded(),
            a.function_deployed(),
            claims=BACK,
            counters=ONE_LESS,
        )

    def test_names_the_older_one_it_replaces(self) -> None:
        older = a.id_of(20)
        verified = _numbered(2)

        given(*verified, a.function_deployed(older, number=1)).when(a.report(RecordActivated)).then(
            a.deployment_activated(replaced=older),
            a.deployment_succeeded(),
            a.function_deployed(number=2, replaced=older),
            claims=BACK,
            counters=ONE_LESS,
        )

    def test_never_replaces_a_newer_one(self) -> None:
        newer = a.function_deployed(a.LATER_DEPLOYMENT_ID, number=2)

        given(*VERIFIED, newer).when(a.report(RecordActivated)).then(
            a.deployment_succeeded(), a.deployment_ended(), claims=BACK, counters=ONE_LESS
        )

    def test_comes_too_late_for_a_request_to_cancel_of_before_those_were_refused(self) -> None:
        given(*VERIFIED, a.cancel_requested()).when(a.report(RecordActivated)).then(
            a.deployment_activated(), a.deployment_succeeded(), a.function_deployed()
        )

    def test_is_why_it_succeeds_after_all_when_it_was_going_to_fail(self) -> None:
        given(*VERIFIED, a.failure_found()).when(a.report(RecordActivated)).then(
            a.deployment_activated(), a.deployment_succeeded(despite=a.FAILURE), a.function_deployed()
        )

    def test_is_refused_once_something_of_it_was_taken_away(self) -> None:
        given(*VERIFIED, a.failure_found(), a.deployment_withdrawn(remaining=("image",))).when(
            a.report(RecordActivated)
        ).then_refused(ReportOutOfPlace)

    def test_is_refused_a_second_time(self) -> None:
        given(*ACTIVE).when(a.report(RecordActivated)).then_refused(ReportOutOfPlace)


class TestRecordFailed:
    @pytest.mark.parametrize("remaining", [(), ("image:1", "service:1")])
    def test_says_why_and_what_it_left_behind(self, remaining: tuple[str, ...]) -> None:
        given(*DEPLOYING).when(a.report(RecordFailed, remaining=remaining)).then(
            a.deployment_failed(remaining), a.deployment_ended(), claims=BACK, counters=ONE_LESS
        )

    @pytest.mark.parametrize("elsewhere", [ACTIVE, FAILED, UNDEPLOYING])
    def test_is_refused_of_one_that_has_its_outcome(self, elsewhere: tuple[Fact, ...]) -> None:
        epoch = 2 if elsewhere is UNDEPLOYING else 1

        given(*elsewhere).when(a.report(RecordFailed, epoch=epoch)).then_refused(ReportOutOfPlace)


class TestRecordCanceled:
    def test_ends_one_whose_cancellation_was_asked_for(self) -> None:
        given(*DEPLOYING, a.cancel_requested()).when(a.report(RecordCanceled, remaining=("image:1",))).then(
            a.deployment_canceled(epoch=1, remaining=("image:1",)), a.deployment_ended(), claims=BACK, counters=ONE_LESS
        )

    def test_is_refused_when_nobody_asked(self) -> None:
        given(*DEPLOYING).when(a.report(RecordCanceled)).then_refused(ReportOutOfPlace)

    def test_is_refused_of_one_that_has_its_outcome(self) -> None:
        succeeded = (*VERIFIED, a.cancel_requested(), a.deployment_activated(), a.deployment_succeeded())

        given(*succeeded, a.function_deployed()).when(a.report(RecordCanceled)).then_refused(ReportOutOfPlace)


class TestRecordWaiting:
    def test_says_which_step_waits_and_how_long(self) -> None:
        given(*BUILDING).when(a.report(RecordWaiting)).then(a.deployment_waiting())

    def test_is_recorded_while_undeploying_too(self) -> None:
        given(*UNDEPLOYING).when(a.report(RecordWaiting, epoch=2, step="withdraw")).then(
            a.deployment_waiting("withdraw", epoch=2)
        )

    def test_is_refused_of_one_that_has_its_outcome(self) -> None:
        given(*ACTIVE).when(a.report(RecordWaiting)).then_refused(ReportOutOfPlace)


class TestRecordWithdrawn:
    @pytest.mark.parametrize("remaining", [(), ("image:1",)])
    def test_says_what_remains(self, remaining: tuple[str, ...]) -> None:
        given(*UNDEPLOYING).when(a.report(RecordWithdrawn, epoch=2, remaining=remaining)).then(
            a.deployment_withdrawn(remaining), claims=(), counters=()
        )

    @pytest.mark.parametrize("ending", [a.failure_found(), a.cancel_requested()])
    def test_is_part_of_failing_and_of_being_canceled(self, ending: Fact) -> None:
        given(*DEPLOYING, ending).when(a.report(RecordWithdrawn)).then(a.deployment_withdrawn(epoch=1))

    @pytest.mark.parametrize("elsewhere", [DEPLOYING, ACTIVE, FAILED])
    def test_is_refused_of_one_that_is_not_to_go(self, elsewhere: tuple[Fact, ...]) -> None:
        given(*elsewhere).when(a.report(RecordWithdrawn)).then_refused(ReportOutOfPlace)


class TestRecordUndeployed:
    GONE = (*UNDEPLOYING, a.deployment_withdrawn())

    def test_ends_the_undeployment_and_the_function_serves_no_more(self) -> None:
        given(*self.GONE).when(a.report(RecordUndeployed, epoch=2)).then(
            a.deployment_undeployed(), a.function_undeployed(), claims=BACK, counters=ONE_LESS
        )

    def test_leaves_the_function_to_a_newer_deployment(self) -> None:
        newer = a.function_deployed(a.LATER_DEPLOYMENT_ID, number=2, replaced=a.DEPLOYMENT_ID)

        given(*self.GONE, newer).when(a.report(RecordUndeployed, epoch=2)).then(
            a.deployment_undeployed(), claims=BACK, counters=ONE_LESS
        )

    def test_puts_the_function_away_when_that_was_asked_for(self) -> None:
        given(*self.GONE, a.archive_requested("unused")).when(a.report(RecordUndeployed, epoch=2)).then(
            a.deployment_undeployed(),
            a.function_undeployed(),
            a.function_archived("unused"),
            claims=(*BACK, a.claim("function", f"{a.PROJECT_ID}/greet", a.FUNCTION_ID, release=True)),
            counters=(*ONE_LESS, a.count("functions", str(a.PROJECT_ID), -1)),
        )

    def test_leaves_a_function_that_was_deployed_again_since(self) -> None:
        again = a.deployment_requested(a.LATER_DEPLOYMENT_ID, number=2)

        given(*self.GONE, a.archive_requested(), again).when(a.report(RecordUndeployed, epoch=2)).then(
            a.deployment_undeployed(), a.function_undeployed()
        )

    def test_is_recorded_when_the_cloud_shows_nothing_to_withdraw(self) -> None:
        given(*UNDEPLOYING).when(a.report(RecordUndeployed, epoch=2)).then(
            a.deployment_undeployed(), a.function_undeployed(), claims=BACK, counters=ONE_LESS
        )

    def test_is_refused_while_something_remains(self) -> None:
        given(*UNDEPLOYING, a.deployment_withdrawn(("image:1",))).when(
            a.report(RecordUndeployed, epoch=2)
        ).then_refused(ReportOutOfPlace)

    def test_is_refused_of_one_that_serves(self) -> None:
        given(*ACTIVE).when(a.report(RecordUndeployed)).then_refused(ReportOutOfPlace)


class TestRecordUndeployFailed:
    def test_gives_its_place_back_so_that_it_can_be_tried_again(self) -> None:
        given(*UNDEPLOYING).when(a.report(RecordUndeployFailed, epoch=2, remaining=("image:1",))).then(
            a.undeploy_failed(("image:1",)), claims=BACK, counters=ONE_LESS
        )

    def test_is_refused_of_one_that_serves(self) -> None:
        given(*ACTIVE).when(a.report(RecordUndeployFailed)).then_refused(ReportOutOfPlace)


class TestRecordDrift:
    def test_names_what_the_cloud_shows_otherwise(self) -> None:
        given(*ACTIVE).when(a.report(RecordDrift, differences=("memory",))).then(a.drift_found("memory"))

    def test_changes_nothing_while_it_sees_the_same(self) -> None:
        given(*ACTIVE).when(a.report(RecordDrift)).then_nothing()
        given(*ACTIVE, a.drift_found("memory")).when(a.report(RecordDrift, differences=("memory",))).then_nothing()

    def test_says_when_it_is_gone(self) -> None:
        given(*ACTIVE, a.drift_found("memory")).when(a.report(RecordDrift)).then(a.drift_cleared())

    @pytest.mark.parametrize("idle", [DEPLOYING, REPLACED, UNDEPLOYED])
    def test_is_refused_of_one_that_does_not_serve(self, idle: tuple[Fact, ...]) -> None:
        epoch = 2 if idle is UNDEPLOYED else 1
        for differences in ((), ("memory",)):
            given(*idle).when(a.report(RecordDrift, epoch=epoch, differences=differences)).then_refused(
                ReportOutOfPlace
            )

    @pytest.mark.parametrize("idle", [REPLACED, UNDEPLOYED])
    def test_is_over_for_one_that_serves_no_more(self, idle: tuple[Fact, ...]) -> None:
        epoch = 2 if idle is UNDEPLOYED else 1
        given(*idle, a.drift_found("memory")).when(a.report(RecordDrift, epoch=epoch)).then(a.drift_cleared())


class TestEveryReport:
    @pytest.mark.parametrize("report", [of for of in PROGRESS.commands if of is not ClaimDeployment])
    def test_is_void_under_an_older_claim(self, report: type[Any]) -> None:
        given(*UNDER_WAY, a.deployment_claimed(epoch=2)).when(a.report(report, epoch=1)).then_refused(StaleEpoch)

    @pytest.mark.parametrize("report", [of for of in PROGRESS.commands if of is not ClaimDeployment])
    def test_is_refused_before_anybody_claimed_the_deployment(self, report: type[Any]) -> None:
        given(*QUEUED).when(a.report(report, epoch=0)).then_refused(ReportOutOfPlace)

    @pytest.mark.parametrize("report", PROGRESS.commands)
    def test_is_refused_of_a_deployment_that_never_was(self, report: type[Any]) -> None:
        given(*a.function_ready()).when(a.report(report)).then_refused(DeploymentUnknown)

    @pytest.mark.parametrize("report", PROGRESS.commands)
    def test_is_refused_when_it_names_another_function(self, report: type[Any]) -> None:
        given(*UNDER_WAY).when(a.report(report, function_id=a.OTHER_FUNCTION_ID)).then_refused(DeploymentUnknown)


def _numbered(number: int) -> tuple[Fact, ...]:
    """As far as verified, as the function's deployment of this number."""
    given_number = a.deployment_queued(number=number)
    return tuple(given_number if fact == a.deployment_queued() else fact for fact in VERIFIED)
