"""Deployments as people ask for them: queued after every check, canceled in time, taken away again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from commands.claimed import QueueFull, full
from commands.deployment import ArtifactMissing
from domain.artifact import ArtifactOfAnotherKind, ArtifactUnknown
from domain.clouds import LocalTarget, ProviderMismatch
from domain.deployment import (
    DeploymentExists,
    DeploymentIsOver,
    DeploymentNotActive,
    DeploymentUnknown,
    Notice,
    UndeployUnderWay,
)
from domain.event import Fact
from domain.function import ArtifactFiles, FunctionIsArchived, FunctionUnknown
from domain.integration import IdentityNotVerified, ProviderNotConnected, StorageNotConfigured
from domain.project import ProjectIsArchived, ProjectUnknown
from domain.release import Trigger
from domain.runtime import RuntimeNotDeployable, RuntimeUnknown, SdkConstraintNotMet
from domain.trigger import TriggerUnavailable
from domain.version import ConstraintNotUnderstood
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
        nightly = Trigger(type="schedule", settings={"cron": "0 3 * * *"})

        given(*READY, a.function_updated(trigger=nightly, artifact_files=NAMED)).when(
            a.queue_deployment()
        ).then_refused(TriggerUnavailable, fields=("trigger.type",))

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
