"""What the plan keeps no longer."""

from __future__ import annotations

from typing import Any

import pytest

from commands.artifact import DiscardArtifact
from commands.progress import RecordWithdrawn
from commands.retention import ReleaseInUse, ReleasesMoved, RetireDeployment
from domain.artifact import ArtifactGone
from domain.deployment import DeploymentUnknown, ReportOutOfPlace
from domain.event import Fact
from domain.rollback import RollbackImageGone
from tests.support import a
from tests.support.scenario import given

ACTIVE = a.deployment_active()
LATER = (
    a.deployment_requested(a.LATER_DEPLOYMENT_ID, 2),
    a.deployment_queued(a.LATER_DEPLOYMENT_ID, 2),
)
FORMER = (*ACTIVE, *LATER, a.function_deployed(a.LATER_DEPLOYMENT_ID, 2, replaced=a.DEPLOYMENT_ID))
RETIRED = (*FORMER, a.deployment_retired())
THIRD = a.id_of(12)
GOING_BACK = (
    *FORMER,
    a.deployment_requested(THIRD, 3),
    a.deployment_queued(THIRD, 3, release=a.release(image=a.pinned_image()), origin="rollback"),
)


def retire(**changes: Any) -> RetireDeployment:
    named = {"deployment_id": a.DEPLOYMENT_ID, "function_id": a.FUNCTION_ID, "deployments_requested": 2}
    return RetireDeployment(**{"tenant_id": a.TENANT_ID, "at": a.AT, "releases_kept": 5, **named, **changes})


class TestRetireDeployment:
    def test_lets_a_former_release_go(self) -> None:
        given(*FORMER).when(retire()).then(a.deployment_retired())

    def test_twice_is_once(self) -> None:
        given(*RETIRED).when(retire()).then_nothing()

    @pytest.mark.parametrize(
        ("facts", "requested"),
        [(ACTIVE, 1), (GOING_BACK, 3), (a.deployment_verified(), 1), (a.deployment_undeploying(), 1)],
    )
    def test_never_takes_what_serves_or_is_needed(self, facts: tuple[Fact, ...], requested: int) -> None:
        given(*facts).when(retire(deployments_requested=requested)).then_refused(ReleaseInUse)

    def test_is_put_off_when_another_deployment_was_asked_for_since_the_count(self) -> None:
        given(*FORMER).when(retire(deployments_requested=1)).then_refused(ReleasesMoved)

    def test_of_another_function_is_refused(self) -> None:
        given(*FORMER).when(retire(function_id=a.OTHER_FUNCTION_ID)).then_refused(DeploymentUnknown)

    def test_makes_going_back_refuse_with_its_reason(self) -> None:
        given(*RETIRED).when(a.rollback_deployment(deployment_id=THIRD)).then_refused(RollbackImageGone)


class TestRecordWithdrawn:
    def test_tells_what_is_left_of_a_retired_release_once(self) -> None:
        report = a.report(RecordWithdrawn, remaining=("image",))

        given(*RETIRED).when(report).then(a.deployment_withdrawn(remaining=("image",), epoch=1))
        given(*RETIRED, a.deployment_withdrawn(remaining=("image",), epoch=1)).when(report).then_nothing()

    def test_is_refused_of_a_release_that_is_kept(self) -> None:
        given(*FORMER).when(a.report(RecordWithdrawn)).then_refused(ReportOutOfPlace)


class TestDiscardArtifact:
    def discard(self) -> DiscardArtifact:
        return DiscardArtifact(tenant_id=a.TENANT_ID, at=a.AT, artifact_id=a.staged_id("code"), retention_days=30)

    def test_is_recorded_once(self) -> None:
        given(a.artifact_staged()).when(self.discard()).then(a.artifact_discarded())
        given(a.artifact_staged(), a.artifact_discarded()).when(self.discard()).then_nothing()

    def test_of_what_never_was_is_nothing(self) -> None:
        given().when(self.discard()).then_nothing()

    def test_keeps_the_file_from_being_deployed(self) -> None:
        given(*a.function_ready(), a.artifact_discarded()).when(a.queue_deployment()).then_refused(
            ArtifactGone, fields=("artifactFiles.code_file",)
        )

    def test_keeps_the_release_from_being_built_again_but_not_from_being_gone_back_to(self) -> None:
        facts = (*FORMER, a.artifact_discarded())

        given(*facts).when(a.redeploy_deployment(deployment_id=THIRD)).then_refused(ArtifactGone)
        outcome = given(*facts).when(a.rollback_deployment(deployment_id=THIRD))
        with pytest.raises(AssertionError):
            outcome.refusal()

    def test_is_undone_by_uploading_the_file_again(self) -> None:
        given(a.project_created(), a.artifact_staged(), a.artifact_discarded()).when(a.stage_artifact("code")).then(
            a.artifact_staged()
        )
