"""What people ask of deployments: queue one, do one again, go back to one, cancel it, take it away again."""

from __future__ import annotations

from typing import assert_never
from uuid import UUID

import msgspec

from commands.command import Command, Decider, Reads, States, facts
from commands.new_release import Checked, Wanted, built_release, new_release, same_release
from commands.queueing import queue_counter, queued
from domain.artifact import ARTIFACT
from domain.clouds import ProviderName, Target
from domain.deployment import (
    DEPLOYMENT,
    CancelRequested,
    CancelTooLate,
    Deployment,
    DeploymentCanceled,
    DeploymentExists,
    DeploymentIsOver,
    DeploymentNotActive,
    DeploymentNotRetryable,
    DeploymentPending,
    Origin,
    UndeployRequested,
    UndeployUnderWay,
    require_of,
)
from domain.event import Decision
from domain.function import FUNCTION, ArtifactFiles, DeploymentEnded, Function
from domain.integration import INTEGRATION, integration_id
from domain.project import PROJECT
from domain.rollback import image_of, refusal_of
from domain.runtime import RUNTIMES, RUNTIMES_STREAM
from domain.tenant import TENANT


class QueueDeployment(Command, frozen=True, kw_only=True, tag="QueueDeployment"):
    project_id: UUID
    function_id: UUID
    deployment_id: UUID
    provider: ProviderName
    target: Target
    artifact_files: ArtifactFiles = ArtifactFiles()
    reason: str = ""


class _Again(Command, frozen=True, kw_only=True):
    """`deployment_id` is the new deployment's, `source_deployment_id` that of the one it is made from."""

    project_id: UUID
    deployment_id: UUID
    source_deployment_id: UUID
    reason: str = ""


class RetryDeployment(_Again, frozen=True, kw_only=True, tag="RetryDeployment"):
    """Try a failed or canceled deployment once more, with the same inputs."""


class RedeployDeployment(_Again, frozen=True, kw_only=True, tag="RedeployDeployment"):
    """Build and deploy the exact release of an earlier deployment."""


class RollbackDeployment(_Again, frozen=True, kw_only=True, tag="RollbackDeployment"):
    """Go back to an earlier deployment: its code, configuration and variables, without a build."""


class CancelDeployment(Command, frozen=True, kw_only=True, tag="CancelDeployment"):
    project_id: UUID
    deployment_id: UUID
    reason: str = ""


class UndeployDeployment(Command, frozen=True, kw_only=True, tag="UndeployDeployment"):
    project_id: UUID
    deployment_id: UUID
    reason: str = ""


AgainCommand = RetryDeployment | RedeployDeployment | RollbackDeployment
DeploymentCommand = QueueDeployment | AgainCommand | CancelDeployment | UndeployDeployment


def reads(command: DeploymentCommand) -> Reads:
    yield DEPLOYMENT, DEPLOYMENT.stream(command.tenant_id, command.deployment_id)
    match command:
        case QueueDeployment():
            yield from _reads_of_queueing(command)
            yield FUNCTION, FUNCTION.stream(command.tenant_id, command.function_id)
            files = command.artifact_files
            named = (files.code_file, files.docker_file, files.yaml_file)
            yield from ((ARTIFACT, ARTIFACT.stream(command.tenant_id, id)) for id in named if id is not None)
            integration = integration_id(command.project_id, command.provider)
            yield INTEGRATION, INTEGRATION.stream(command.tenant_id, integration)
        case RetryDeployment() | RedeployDeployment() | RollbackDeployment():
            yield from _reads_of_queueing(command)
            yield DEPLOYMENT, DEPLOYMENT.stream(command.tenant_id, command.source_deployment_id)
        case CancelDeployment() | UndeployDeployment():
            return
        case _:
            assert_never(command)


def _reads_of_queueing(command: QueueDeployment | AgainCommand) -> Reads:
    yield PROJECT, PROJECT.stream(command.tenant_id, command.project_id)
    yield TENANT, TENANT.stream(command.tenant_id, command.tenant_id)
    yield RUNTIMES, RUNTIMES_STREAM


def decide(command: DeploymentCommand, states: States) -> Decision:
    match command:
        case QueueDeployment():
            return _queue(command, states)
        case RetryDeployment():
            return _again(command, "retry", states)
        case RedeployDeployment():
            return _again(command, "redeploy", states)
        case RollbackDeployment():
            return _again(command, "rollback", states)
        case CancelDeployment():
            return _cancel(command, states)
        case UndeployDeployment():
            return _undeploy(command, states)
        case _:
            assert_never(command)


def _queue(command: QueueDeployment, states: States) -> Decision:
    if states.of(DEPLOYMENT, command.tenant_id, command.deployment_id).exists:
        raise DeploymentExists
    wanted = Wanted(
        tenant_id=command.tenant_id,
        project_id=command.project_id,
        function_id=command.function_id,
        provider=command.provider,
        target=command.target,
        artifact_files=command.artifact_files,
        at=command.at,
    )
    release, warnings = new_release(wanted, states)
    ids = (command.tenant_id, command.project_id, command.deployment_id)
    return queued(*ids, states, release=release, warnings=warnings, reason=command.reason)


def _again(command: AgainCommand, origin: Origin, states: States) -> Decision:
    source = states.of(DEPLOYMENT, command.tenant_id, command.source_deployment_id)
    require_of(source, command.project_id)
    release, warnings = _checked_again(command, source, states)
    return queued(
        command.tenant_id,
        command.project_id,
        command.deployment_id,
        states,
        release=release,
        warnings=warnings,
        reason=command.reason,
        origin=origin,
        source_deployment_id=command.source_deployment_id,
    )


def _checked_again(command: AgainCommand, source: Deployment, states: States) -> Checked:
    release = require_of(source, command.project_id)
    place = (command.tenant_id, command.project_id)
    match command:
        case RetryDeployment():
            if source.outcome not in ("failed", "canceled"):
                raise DeploymentNotRetryable
            return same_release(*place, release, command.at, states)
        case RedeployDeployment():
            if source.outcome is None:
                raise DeploymentPending
            return same_release(*place, msgspec.structs.replace(release, image=None), command.at, states)
        case RollbackDeployment():
            function = states.of(FUNCTION, command.tenant_id, release.function_id)
            active = _is_active(command.source_deployment_id, function)
            if refusal := refusal_of(source.status, active=active, retired=source.retired):
                raise refusal
            return built_release(*place, release, image_of(source), command.at, states)
        case _:
            assert_never(command)


def _cancel(command: CancelDeployment, states: States) -> Decision:
    stream = DEPLOYMENT.stream(command.tenant_id, command.deployment_id)
    deployment = states.at(DEPLOYMENT, stream)
    release = require_of(deployment, command.project_id)
    if deployment.outcome is not None:
        raise DeploymentIsOver
    if deployment.cancel_requested:
        return Decision()  # Asking twice is not an error.
    if deployment.release_verified:
        # A runner may have let it serve and stopped the former one by now.
        raise CancelTooLate("Its release answers already and is being let serve.")
    if deployment.failing:
        raise CancelTooLate("It cannot go on: what it made is being taken away, and then it has failed.")
    asked = CancelRequested(reason=command.reason)
    if deployment.status != "queued":
        return Decision(facts=facts(stream, asked))
    ended = DeploymentEnded(deployment_id=command.deployment_id)
    return Decision(
        facts=(
            *facts(stream, asked, DeploymentCanceled(cause="requested")),
            *facts(FUNCTION.stream(command.tenant_id, release.function_id), ended),
        ),
        counters=(queue_counter(command.tenant_id, -1),),
    )


def _undeploy(command: UndeployDeployment, states: States) -> Decision:
    stream = DEPLOYMENT.stream(command.tenant_id, command.deployment_id)
    deployment = states.at(DEPLOYMENT, stream)
    release = require_of(deployment, command.project_id)
    function = states.of(FUNCTION, command.tenant_id, release.function_id)
    if deployment.status in ("undeploy_queued", "undeploying"):
        raise UndeployUnderWay
    if not _has_something_to_withdraw(command.deployment_id, deployment, function):
        raise DeploymentNotActive
    return Decision(facts=facts(stream, UndeployRequested(reason=command.reason)))


def _has_something_to_withdraw(deployment_id: UUID, deployment: Deployment, function: Function) -> bool:
    if deployment.outcome is None:
        return False
    active = _is_active(deployment_id, function)
    return active or bool(deployment.remaining) or deployment.status == "undeploy_failed"


def _is_active(deployment_id: UUID, function: Function) -> bool:
    return any(active.deployment_id == deployment_id for active in function.active.values())


DEPLOYMENTS = Decider(
    commands=(
        QueueDeployment,
        RetryDeployment,
        RedeployDeployment,
        RollbackDeployment,
        CancelDeployment,
        UndeployDeployment,
    ),
    reads=reads,
    decide=decide,
)
