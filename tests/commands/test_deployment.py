"""Deployments as people ask for them: queued after every check, canceled in time, taken away again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from commands.claimed import QueueFull, full
from commands.new_release import ArtifactMissing, MainMissing, SdkConstraintMissing
from domain.artifact import ArtifactOfAnotherKind, ArtifactUnknown
from domain.clouds import LocalTarget, ProviderMismatch
from domain.deployment import (
    CancelTooLate,
    DeploymentExists,
    DeploymentIsOver,
    DeploymentNotActive,
    DeploymentNotRetryable,
    DeploymentPending,
    DeploymentQueued,
    DeploymentUnknown,
    Notice,
    UndeployUnderWay,
)
from domain.event import Fact
from domain.function import ArtifactFiles, FunctionIsArchived, FunctionUnknown
from domain.integration import IdentityNotVerified, ProviderNotConnected, StorageNotConfigured
from domain.placement import TargetNotTaken, VariableReserved
from domain.project import ProjectIsArchived, ProjectUnknown
from domain.refusal import Refusal
from domain.release import Trigger
from domain.rollback import (
    RollbackActive,
    RollbackImageGone,
    RollbackNotSucceeded,
    RollbackPending,
    RollbackRuntimeEnded,
    RollbackUndeployed,
)
from domain.runtime import RuntimeNotDeployable, RuntimeUnknown, SdkConstraintNotMet
from domain.tenant import TenantIsClosed
from domain.trigger import TriggerUnavailable
from domain.version import ConstraintNotUnderstood
from projections.deployments import DEPLOYMENTS
from tests.projections.history import rows_of
from tests.support import a
from tests.support.scenario import given

READY = a.function_ready()
NAMED = ArtifactFiles(code_file=a.staged_id("code"), yaml_file=a.staged_id("yaml"))
DEFAULTED = Notice(
    code="artifact_files_defaulted",
    message="Not named in the request, so the function's last staged file is used: code_file, yaml_file.",
)
MICROSECOND = timedelta(microseconds=1)
QUEUED = (*READY, a.deployment_requested(), a.deployment_queued())


def without(unwanted: Fact) -> tuple[Fact, ...]:
    """All that makes a function deployable but this."""
    assert unwanted in READY
    return tuple(fact for fact in READY if fact != unwanted)


class TestQueueDeployment:
    def test_refuses_for_a_tenant_that_was_closed(self) -> None:
        given(*a.function_ready(), a.tenant_closed()).when(a.queue_deployment()).then_refused(TenantIsClosed)

    def test_pins_everything_in_one_release(self) -> None:
        given(*READY).when(a.queue_deployment(artifact_files=NAMED, reason="first")).then(
            a.deployment_queued(reason="first", release=a.release()),
            a.deployment_requested(),
            claims=(),
            counters=(a.count("deployments", "queued", 1, 4),),
        )

    def test_pins_the_record_as_it_is_now(self) -> None:
        said: dict[str, Any] = {"access": "public", "environment": {"A": "1"}, "artifact_files": NAMED}

        given(*READY, a.function_updated(**said)).when(a.queue_deployment(artifact_files=NAMED)).then(
            a.deployment_queued(release=a.release(function_revision=2, access="public", environment={"A": "1"})),
            a.deployment_requested(),
        )

    def test_pins_the_versions_of_secrets_and_not_what_is_set_later(self) -> None:
        """A release keeps the value it was made with: another value takes another deployment, and going back brings the former."""
        first, second = a.id_of(60), a.id_of(61)
        before = (*READY, a.secret_set("TOKEN", value_id=first))
        old = a.release(secret_versions={"TOKEN": 1}, secret_values={"TOKEN": first})
        new = a.release(secret_versions={"TOKEN": 2}, secret_values={"TOKEN": second})

        given(*before).when(a.queue_deployment(artifact_files=NAMED)).then(
            a.deployment_queued(release=old), a.deployment_requested()
        )
        given(*before, a.secret_set("TOKEN", version=2, value_id=second)).when(
            a.queue_deployment(artifact_files=NAMED)
        ).then(a.deployment_queued(release=new), a.deployment_requested())

    def test_keeps_answering_under_the_segments_the_project_and_the_function_began_with(self) -> None:
        renamed = (a.project_renamed("Store"), a.function_updated(name="Hello", artifact_files=NAMED))

        given(*READY, *renamed).when(a.queue_deployment(artifact_files=NAMED)).then(
            a.deployment_queued(release=a.release(function_revision=2, address=("acme", "shop", "greet"))),
            a.deployment_requested(),
        )

    def test_takes_the_last_staged_files_for_those_not_named_and_says_so(self) -> None:
        given(*READY).when(a.queue_deployment()).then(
            a.deployment_queued(warnings=(DEFAULTED,)), a.deployment_requested()
        )

    def test_takes_a_named_file_before_the_staged_one(self) -> None:
        other = a.stage_artifact("code", file_name="other.dart")
        staged = Fact(*_staged(other))
        source = msgspec.structs.replace(a.source("code"), artifact_id=other.artifact_id, file_name="other.dart")
        files = ArtifactFiles(code_file=other.artifact_id, yaml_file=a.staged_id("yaml"))

        given(*READY, staged).when(a.queue_deployment(artifact_files=files)).then(
            a.deployment_queued(release=a.release(sources=(source, a.source("yaml")))), a.deployment_requested()
        )

    def test_carries_a_dockerfile_when_there_is_one(self) -> None:
        files = msgspec.structs.replace(NAMED, docker_file=a.staged_id("docker"))
        sources = (a.source("code"), a.source("docker"), a.source("yaml"))

        given(*READY, a.artifact_staged("docker")).when(a.queue_deployment(artifact_files=files)).then(
            a.deployment_queued(release=a.release(sources=sources)), a.deployment_requested()
        )

    @pytest.mark.parametrize(
        ("left", "days"),
        [
            (timedelta(days=12, hours=5), 12),
            (timedelta(days=1), 1),
            (timedelta(days=1) - MICROSECOND, 0),
            (MICROSECOND, 0),
        ],
    )
    def test_warns_of_a_retiring_runtime_with_the_days_that_are_left(self, left: timedelta, days: int) -> None:
        until = a.AT + left
        retiring = a.runtime_dates_set(deprecation_announced_at=a.AT, block_new_deploys_after=until)
        message = f"Runtime 3.11.0 can be deployed until {until:%Y-%m-%d}."
        warning = Notice(code="runtime_deprecating", message=message, days_remaining=days)

        given(*READY, retiring).when(a.queue_deployment(artifact_files=NAMED)).then(
            a.deployment_queued(warnings=(warning,)), a.deployment_requested()
        )

    @pytest.mark.parametrize("late", [timedelta(0), MICROSECOND])
    def test_refuses_a_runtime_from_the_very_instant_new_deployments_end(self, late: timedelta) -> None:
        ended = a.runtime_dates_set(block_new_deploys_after=a.AT - late)

        given(*READY, ended).when(a.queue_deployment()).then_refused(RuntimeNotDeployable)

    def test_numbers_the_deployments_of_a_function(self) -> None:
        before = (a.deployment_requested(number=6), a.deployment_ended())

        given(*READY, *before).when(a.queue_deployment(artifact_files=NAMED)).then(
            a.deployment_queued(number=7), a.deployment_requested(number=7)
        )

    def test_overtakes_the_one_that_still_waits_for_the_same_target(self) -> None:
        given(*QUEUED).when(a.queue_deployment(deployment_id=a.LATER_DEPLOYMENT_ID, artifact_files=NAMED)).then(
            a.deployment_queued(a.LATER_DEPLOYMENT_ID, number=2),
            a.deployment_requested(a.LATER_DEPLOYMENT_ID, number=2),
            a.deployment_superseded(),
            a.deployment_canceled(cause="superseded"),
            a.deployment_ended(),
            claims=(),
            counters=(a.count("deployments", "queued", 0, 4),),
        )

    def test_waits_behind_the_one_that_is_under_way(self) -> None:
        later = a.queue_deployment(deployment_id=a.LATER_DEPLOYMENT_ID, artifact_files=NAMED)

        given(*a.deployment_under_way()).when(later).then(
            a.deployment_queued(a.LATER_DEPLOYMENT_ID, number=2),
            a.deployment_requested(a.LATER_DEPLOYMENT_ID, number=2),
            counters=(a.count("deployments", "queued", 1, 4),),
        )

    def test_is_told_to_come_back_when_the_queue_is_full(self) -> None:
        assert type(full(a.count("deployments", "queued", 1, 4), 4)) is QueueFull

    def test_refuses_an_id_that_is_a_deployment_already(self) -> None:
        given(*QUEUED).when(a.queue_deployment()).then_refused(DeploymentExists)

    def test_refuses_a_project_that_never_was(self) -> None:
        given().when(a.queue_deployment()).then_refused(ProjectUnknown)

    def test_refuses_an_archived_project(self) -> None:
        given(*READY, a.project_archived()).when(a.queue_deployment()).then_refused(ProjectIsArchived)

    def test_refuses_a_function_that_never_was(self) -> None:
        given(a.project_created()).when(a.queue_deployment()).then_refused(FunctionUnknown)

    def test_refuses_a_function_of_another_project_as_if_it_never_was(self) -> None:
        given(*READY, a.project_created(a.OTHER_PROJECT_ID)).when(
            a.queue_deployment(project_id=a.OTHER_PROJECT_ID)
        ).then_refused(FunctionUnknown)

    def test_refuses_an_archived_function(self) -> None:
        given(*READY, a.function_archived()).when(a.queue_deployment()).then_refused(FunctionIsArchived)

    def test_refuses_a_runtime_that_is_gone(self) -> None:
        given(*without(a.runtime_added())).when(a.queue_deployment()).then_refused(RuntimeUnknown)

    def test_refuses_the_target_of_another_provider(self) -> None:
        given(*READY).when(a.queue_deployment(provider="aws", target=LocalTarget())).then_refused(
            ProviderMismatch, fields=("target",)
        )

    def test_refuses_a_trigger_the_provider_does_not_support(self) -> None:
        of_orders = Trigger(type="event", settings={"source": "orders"})

        given(*READY, a.function_updated(trigger=of_orders, artifact_files=NAMED)).when(
            a.queue_deployment()
        ).then_refused(TriggerUnavailable, fields=("trigger.type",))

    def test_refuses_a_target_and_variables_that_the_cloud_would_not_take(self) -> None:
        """*Goal:* who deploys hears so at once, and not when everything is built; also who deploys the same again."""
        connected = (*READY, a.artifact_staged("docker"), *a.aws_ready())
        files = msgspec.structs.replace(NAMED, docker_file=a.staged_id("docker"))
        to_aws: dict[str, Any] = {"provider": "aws", "target": a.aws_target(), "artifact_files": files}
        elsewhere = {**to_aws, "target": msgspec.structs.replace(a.aws_target(), region="us-east-1")}
        named = a.function_updated(environment={"AWS_REGION": "x"}, artifact_files=files)

        given(*connected).when(a.queue_deployment(**elsewhere)).then_refused(TargetNotTaken, fields=("target.region",))
        given(*connected, named).when(a.queue_deployment(**to_aws)).then_refused(
            VariableReserved, fields=("environment.AWS_REGION",)
        )
        release = a.release(provider="aws", target=elsewhere["target"])
        once = (
            a.deployment_requested(),
            a.deployment_queued(release=release),
            a.deployment_claimed(),
            a.deployment_failed(),
            a.deployment_ended(),
        )
        given(*connected, *once).when(a.retry_deployment()).then_refused(TargetNotTaken, fields=("target.region",))

    @pytest.mark.parametrize("field", ["code_file", "yaml_file"])
    def test_refuses_to_go_without_a_file_it_needs(self, field: str) -> None:
        files = msgspec.structs.replace(NAMED, **{field: None})

        given(*READY, a.function_updated(artifact_files=files)).when(a.queue_deployment()).then_refused(
            ArtifactMissing, fields=(f"artifactFiles.{field}",)
        )

    def test_refuses_an_artifact_that_was_never_uploaded(self) -> None:
        files = ArtifactFiles(code_file=a.id_of(99))

        given(*READY).when(a.queue_deployment(artifact_files=files)).then_refused(
            ArtifactUnknown, fields=("artifactFiles.code_file",)
        )

    def test_refuses_an_artifact_of_another_project_as_if_it_never_was(self) -> None:
        files = ArtifactFiles(code_file=a.staged_id("code", a.OTHER_PROJECT_ID))

        given(*READY, a.artifact_staged("code", a.OTHER_PROJECT_ID)).when(
            a.queue_deployment(artifact_files=files)
        ).then_refused(ArtifactUnknown)

    def test_refuses_an_artifact_of_another_kind(self) -> None:
        files = ArtifactFiles(code_file=a.staged_id("yaml"))

        given(*READY).when(a.queue_deployment(artifact_files=files)).then_refused(
            ArtifactOfAnotherKind, fields=("artifactFiles.code_file",)
        )

    def test_refuses_a_pubspec_that_does_not_allow_the_runtime_and_names_those_it_allows(self) -> None:
        narrow = (a.artifact_staged("yaml", sdk_constraint="<3.11.0"), a.runtime_added("3.10.0"))

        refusal = given(*READY, *narrow).when(a.queue_deployment()).then_refused(SdkConstraintNotMet)

        assert refusal.remedy == "Choose runtime 3.10.0, or widen environment.sdk in pubspec.yaml."

    def test_refuses_a_pubspec_that_allows_no_deployable_runtime_and_lists_them(self) -> None:
        blocked = a.runtime_added("2.19.0", block_new_deploys_after=a.AT)
        old = (a.artifact_staged("yaml", sdk_constraint=">=2.10.0 <3.0.0"), a.runtime_added("3.10.0"), blocked)

        refusal = given(*READY, *old).when(a.queue_deployment()).then_refused(SdkConstraintNotMet)

        assert refusal.remedy == (
            "No deployable runtime fits; widen environment.sdk in pubspec.yaml. Deployable are: 3.11.0, 3.10.0."
        )

    def test_refuses_a_pubspec_that_names_no_sdk_and_says_what_to_add(self) -> None:
        refusal = (
            given(*READY, a.artifact_staged("yaml", sdk_constraint=None))
            .when(a.queue_deployment())
            .then_refused(SdkConstraintMissing, fields=("artifactFiles.yaml_file",))
        )

        assert "sdk: ^3.11.0" in refusal.remedy

    def test_refuses_code_without_a_main(self) -> None:
        given(*READY, a.artifact_staged("code", has_main=False)).when(a.queue_deployment()).then_refused(
            MainMissing, fields=("artifactFiles.code_file",)
        )

    def test_refuses_a_pubspec_whose_constraint_pub_would_not_understand(self) -> None:
        given(*READY, a.artifact_staged("yaml", sdk_constraint="three")).when(a.queue_deployment()).then_refused(
            ConstraintNotUnderstood
        )

    def test_refuses_a_provider_that_is_not_connected(self) -> None:
        given(*READY, a.integration_disconnected()).when(a.queue_deployment()).then_refused(ProviderNotConnected)

    @pytest.mark.parametrize("status", ["pending", "failed"])
    def test_refuses_an_identity_that_is_not_verified(self, status: str) -> None:
        given(*READY, a.identity_checked(status)).when(a.queue_deployment()).then_refused(IdentityNotVerified)

    def test_refuses_a_provider_without_storage(self) -> None:
        given(*without(a.storage_configured())).when(a.queue_deployment()).then_refused(StorageNotConfigured)


LATER = a.LATER_DEPLOYMENT_ID
FAILED = (*a.deployment_under_way(), a.deployment_failed(), a.deployment_ended())
CANCELED = (*QUEUED, a.cancel_requested(), a.deployment_canceled(), a.deployment_ended())
# It served, and another one does now.
FORMER = (*a.deployment_active(), a.function_deployed(a.id_of(12), 2, replaced=a.DEPLOYMENT_ID))
IMAGE = a.pinned_image()


class TestRetryDeployment:
    @pytest.mark.parametrize("over", [FAILED, CANCELED], ids=["failed", "canceled"])
    def test_queues_the_same_inputs_once_more(self, over: tuple[Fact, ...]) -> None:
        changed = a.function_updated(access="public", environment={"A": "1"})

        given(*over, changed).when(a.retry_deployment(reason="flaky")).then(
            a.deployment_queued(LATER, 2, reason="flaky", origin="retry", source_deployment_id=a.DEPLOYMENT_ID),
            a.deployment_requested(LATER, 2),
            claims=(),
            counters=(a.count("deployments", "queued", 1, 4),),
        )

    def test_of_a_rollback_needs_no_build_either(self) -> None:
        went_back = (*READY, a.deployment_requested(), a.deployment_queued(release=a.release(image=IMAGE)))
        failed = (a.deployment_claimed(), a.deployment_failed(), a.deployment_ended())
        again = a.deployment_queued(
            LATER, 2, origin="retry", source_deployment_id=a.DEPLOYMENT_ID, release=a.release(image=IMAGE)
        )

        given(*went_back, *failed).when(a.retry_deployment()).then(again, a.deployment_requested(LATER, 2))

    def test_overtakes_the_one_that_still_waits_for_the_same_target(self) -> None:
        waiting = (a.deployment_requested(a.id_of(12), 2), a.deployment_queued(a.id_of(12), 2))

        given(*FAILED, *waiting).when(a.retry_deployment()).then(
            a.deployment_queued(LATER, 3, origin="retry", source_deployment_id=a.DEPLOYMENT_ID),
            a.deployment_requested(LATER, 3),
            a.deployment_superseded(a.id_of(12), by=LATER),
            a.deployment_canceled(a.id_of(12), cause="superseded"),
            a.deployment_ended(a.id_of(12)),
            counters=(a.count("deployments", "queued", 0, 4),),
        )

    @pytest.mark.parametrize("source", [QUEUED, a.deployment_under_way(), a.deployment_active(), FORMER])
    def test_refuses_one_that_did_not_fail(self, source: tuple[Fact, ...]) -> None:
        given(*source).when(a.retry_deployment()).then_refused(DeploymentNotRetryable)

    def test_refuses_one_that_never_was(self) -> None:
        given(*READY).when(a.retry_deployment()).then_refused(DeploymentUnknown)

    def test_refuses_one_of_another_project_as_if_it_never_was(self) -> None:
        given(*FAILED).when(a.retry_deployment(project_id=a.OTHER_PROJECT_ID)).then_refused(DeploymentUnknown)

    def test_refuses_an_id_that_is_a_deployment_already(self) -> None:
        given(*FAILED).when(a.retry_deployment(deployment_id=a.DEPLOYMENT_ID)).then_refused(DeploymentExists)

    @pytest.mark.parametrize(
        ("since", "refusal"),
        [
            (a.function_archived(), FunctionIsArchived),
            (a.project_archived(), ProjectIsArchived),
            (a.integration_disconnected(), ProviderNotConnected),
            (a.runtime_dates_set(block_new_deploys_after=a.AT), RuntimeNotDeployable),
        ],
    )
    def test_refuses_what_cannot_be_deployed_any_more(self, since: Fact, refusal: type[Refusal]) -> None:
        given(*FAILED, since).when(a.retry_deployment()).then_refused(refusal)


class TestRedeployDeployment:
    @pytest.mark.parametrize("source", [FAILED, CANCELED, a.deployment_active(), FORMER])
    def test_queues_the_exact_release_to_be_built_again(self, source: tuple[Fact, ...]) -> None:
        number = 2

        given(*source, a.function_updated(access="public")).when(a.redeploy_deployment()).then(
            a.deployment_queued(LATER, number, origin="redeploy", source_deployment_id=a.DEPLOYMENT_ID),
            a.deployment_requested(LATER, number),
        )

    def test_of_a_rollback_builds_what_it_went_back_to(self) -> None:
        went_back = (*READY, a.deployment_requested(), a.deployment_queued(release=a.release(image=IMAGE)))
        failed = (a.deployment_claimed(), a.deployment_failed(), a.deployment_ended())

        given(*went_back, *failed).when(a.redeploy_deployment()).then(
            a.deployment_queued(LATER, 2, origin="redeploy", source_deployment_id=a.DEPLOYMENT_ID),
            a.deployment_requested(LATER, 2),
        )

    def test_names_the_integration_as_it_is_now(self) -> None:
        checked_again = a.identity_checked()

        given(*FORMER, checked_again).when(a.redeploy_deployment()).then(
            a.deployment_queued(
                LATER,
                2,
                origin="redeploy",
                source_deployment_id=a.DEPLOYMENT_ID,
                release=a.release(integration_version=5),
            ),
            a.deployment_requested(LATER, 2),
        )

    @pytest.mark.parametrize("source", [QUEUED, a.deployment_under_way()])
    def test_refuses_one_without_an_outcome(self, source: tuple[Fact, ...]) -> None:
        given(*source).when(a.redeploy_deployment()).then_refused(DeploymentPending)

    def test_refuses_a_runtime_that_cannot_be_built_with_any_more(self) -> None:
        blocked = a.runtime_dates_set(block_new_deploys_after=a.AT)

        given(*FORMER, blocked).when(a.redeploy_deployment()).then_refused(RuntimeNotDeployable)


class TestRollbackDeployment:
    BACK = a.deployment_queued(
        LATER, 2, origin="rollback", source_deployment_id=a.DEPLOYMENT_ID, release=a.release(image=IMAGE)
    )

    def test_goes_back_to_code_configuration_and_variables_with_the_image_that_was_built(self) -> None:
        changed = a.function_updated(access="public", environment={"A": "1"}, runtime="3.10.0")

        given(*FORMER, changed).when(a.rollback_deployment()).then(
            self.BACK,
            a.deployment_requested(LATER, 2),
            claims=(),
            counters=(a.count("deployments", "queued", 1, 4),),
        )

    def test_brings_back_the_secrets_it_was_made_with(self) -> None:
        made = {"secret_versions": {"TOKEN": 1}, "secret_values": {"TOKEN": a.id_of(60)}}
        former = [
            Fact(fact.stream, msgspec.structs.replace(fact.event, release=a.release(**made)))
            if isinstance(fact.event, DeploymentQueued) and fact.stream.id == a.DEPLOYMENT_ID
            else fact
            for fact in FORMER
        ]
        back = msgspec.structs.replace(self.BACK.event, release=a.release(image=IMAGE, **made))

        given(*former, a.secret_set("TOKEN", version=2, value_id=a.id_of(61))).when(a.rollback_deployment()).then(
            Fact(self.BACK.stream, back), a.deployment_requested(LATER, 2)
        )

    def test_is_allowed_while_the_runtime_may_run_though_nothing_new_is_built_with_it_and_says_so(self) -> None:
        ending = a.runtime_dates_set(
            block_new_deploys_after=a.AT, disable_execution_after=a.AT + timedelta(days=3, hours=1)
        )
        warning = Notice(
            code="runtime_not_deployable",
            message="Runtime 3.11.0 can no longer be built with; what was built with it may still run.",
            days_remaining=3,
        )
        back = msgspec.structs.replace(self.BACK.event, warnings=(warning,))

        given(*FORMER, ending).when(a.rollback_deployment()).then(
            Fact(self.BACK.stream, back), a.deployment_requested(LATER, 2)
        )

    @pytest.mark.parametrize(
        ("source", "refusal"),
        [
            (QUEUED, RollbackPending),
            (a.deployment_under_way(), RollbackPending),
            (FAILED, RollbackNotSucceeded),
            (CANCELED, RollbackNotSucceeded),
            (a.deployment_active(), RollbackActive),
            ((*a.deployment_active(), a.undeploy_requested()), RollbackUndeployed),
            (a.deployment_undeploying(), RollbackUndeployed),
            ((*FORMER, a.deployment_retired()), RollbackImageGone),
        ],
    )
    def test_refuses_with_the_reason_that_the_deployment_shows(
        self, source: tuple[Fact, ...], refusal: type[Refusal]
    ) -> None:
        refused = given(*source).when(a.rollback_deployment()).then_refused(refusal)

        assert refused.remedy

    @pytest.mark.parametrize("source", [QUEUED, FAILED, CANCELED, a.deployment_active(), FORMER])
    async def test_is_refused_exactly_when_the_read_model_says_so(self, source: tuple[Fact, ...]) -> None:
        of_models = [fact for fact in source if fact.stream.category in ("deployment", "function")]
        queued_later = a.deployment_queued(a.id_of(12), 2)
        position = next(i for i, fact in enumerate(of_models) if fact.stream.category == "deployment")
        rows = await rows_of(DEPLOYMENTS, *of_models[:position], queued_later, *of_models[position:])
        shown = next(row for row in rows if row.deployment_id == a.DEPLOYMENT_ID).can_rollback

        asked = given(*source).when(a.rollback_deployment())

        if shown.allowed:
            asked.then(self.BACK, a.deployment_requested(LATER, 2))
        else:
            refusal = asked.refusal()
            assert (refusal.code, refusal.detail) == (shown.code, shown.because)

    @pytest.mark.parametrize(
        ("since", "refusal"),
        [
            (a.function_archived(), FunctionIsArchived),
            (a.project_archived(), ProjectIsArchived),
            (a.integration_disconnected(), ProviderNotConnected),
            (a.runtime_dates_set(disable_execution_after=a.AT), RollbackRuntimeEnded),
        ],
    )
    def test_refuses_what_cannot_be_run_any_more(self, since: Fact, refusal: type[Refusal]) -> None:
        given(*FORMER, since).when(a.rollback_deployment()).then_refused(refusal)


class TestCancelDeployment:
    def test_ends_one_that_nobody_began(self) -> None:
        given(*QUEUED).when(a.cancel_deployment(reason="typo")).then(
            a.cancel_requested(reason="typo"),
            a.deployment_canceled(),
            a.deployment_ended(),
            claims=(),
            counters=(a.count("deployments", "queued", -1),),
        )

    def test_asks_the_runner_of_one_that_is_under_way(self) -> None:
        given(*a.deployment_under_way()).when(a.cancel_deployment(reason="typo")).then(
            a.cancel_requested(reason="typo"), claims=(), counters=()
        )

    def test_asking_twice_changes_nothing(self) -> None:
        given(*a.deployment_under_way(), a.cancel_requested()).when(a.cancel_deployment()).then_nothing()

    @pytest.mark.parametrize(
        "over",
        [
            (*QUEUED, a.cancel_requested(), a.deployment_canceled()),
            (*QUEUED, a.deployment_superseded(), a.deployment_canceled(cause="superseded")),
            (*a.deployment_under_way(), a.deployment_failed()),
            a.deployment_active(),
            a.deployment_undeploying(),
        ],
    )
    def test_refuses_one_that_is_over(self, over: tuple[Fact, ...]) -> None:
        given(*over).when(a.cancel_deployment()).then_refused(DeploymentIsOver)

    @pytest.mark.parametrize("late", [a.deployment_verified(), (*a.deployment_under_way(), a.failure_found())])
    def test_refuses_one_that_may_serve_or_is_failing_already(self, late: tuple[Fact, ...]) -> None:
        given(*late).when(a.cancel_deployment()).then_refused(CancelTooLate)

    def test_refuses_one_that_never_was(self) -> None:
        given(*READY).when(a.cancel_deployment()).then_refused(DeploymentUnknown)

    def test_refuses_one_of_another_project_as_if_it_never_was(self) -> None:
        given(*QUEUED).when(a.cancel_deployment(project_id=a.OTHER_PROJECT_ID)).then_refused(DeploymentUnknown)


class TestUndeployDeployment:
    def test_asks_to_take_the_active_one_away(self) -> None:
        given(*a.deployment_active()).when(a.undeploy_deployment(reason="cost")).then(
            a.undeploy_requested("cost"), claims=(), counters=()
        )

    def test_tries_again_what_failed(self) -> None:
        failed = (*a.deployment_undeploying(), a.undeploy_failed(("service",)))

        given(*failed).when(a.undeploy_deployment()).then(a.undeploy_requested())

    @pytest.mark.parametrize("ended", [a.deployment_failed(("image",)), a.deployment_canceled(remaining=("image",))])
    def test_withdraws_what_a_failed_or_canceled_one_left_behind(self, ended: Fact) -> None:
        given(*a.deployment_under_way(), ended, a.deployment_ended()).when(a.undeploy_deployment()).then(
            a.undeploy_requested()
        )

    @pytest.mark.parametrize(
        "inactive",
        [
            QUEUED,
            a.deployment_under_way(),
            (*a.deployment_under_way(), a.deployment_failed(), a.deployment_ended()),
            (*a.deployment_active(), a.function_deployed(a.LATER_DEPLOYMENT_ID, 2, replaced=a.DEPLOYMENT_ID)),
            (
                *a.deployment_undeploying(),
                a.deployment_withdrawn(),
                a.deployment_undeployed(),
                a.function_undeployed(),
            ),
        ],
        ids=["queued", "under way", "failed without leftovers", "replaced", "undeployed"],
    )
    def test_refuses_one_that_is_not_active(self, inactive: tuple[Fact, ...]) -> None:
        given(*inactive).when(a.undeploy_deployment()).then_refused(DeploymentNotActive)

    @pytest.mark.parametrize("asked", [(*a.deployment_active(), a.undeploy_requested()), a.deployment_undeploying()])
    def test_refuses_one_that_is_being_undeployed(self, asked: tuple[Fact, ...]) -> None:
        given(*asked).when(a.undeploy_deployment()).then_refused(UndeployUnderWay)

    def test_refuses_one_that_never_was(self) -> None:
        given(*READY).when(a.undeploy_deployment()).then_refused(DeploymentUnknown)

    def test_refuses_one_of_another_project_as_if_it_never_was(self) -> None:
        given(*a.deployment_active()).when(a.undeploy_deployment(project_id=a.OTHER_PROJECT_ID)).then_refused(
            DeploymentUnknown
        )

    def test_is_allowed_in_an_archived_project(self) -> None:
        given(*a.deployment_active(), a.project_archived()).when(a.undeploy_deployment()).then(a.undeploy_requested())


def _staged(command: Any) -> tuple[Any, Any]:
    plain = a.artifact_staged("code")
    stream = msgspec.structs.replace(plain.stream, id=command.artifact_id)
    return stream, msgspec.structs.replace(plain.event, file_name=command.file_name)
