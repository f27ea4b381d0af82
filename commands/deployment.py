"""What people ask of deployments: queue one, cancel it, take it away again."""

from __future__ import annotations

from typing import assert_never
from uuid import UUID

from commands.command import Command, Decider, Reads, States, facts
from commands.limits import limits_of
from domain.artifact import ARTIFACT, ArtifactOfAnotherKind, ArtifactUnknown
from domain.clouds import ProviderName, Target, check_provider, target_key
from domain.deployment import (
    DEPLOYMENT,
    CancelRequested,
    Deployment,
    DeploymentCanceled,
    DeploymentExists,
    DeploymentIsOver,
    DeploymentNotActive,
    DeploymentQueued,
    DeploymentSuperseded,
    Notice,
    UndeployRequested,
    UndeployUnderWay,
    require_of,
)
from domain.event import Counter, Decision, Fact
from domain.function import FUNCTION, ArtifactFiles, DeploymentEnded, DeploymentRequested, Function, require_open
from domain.integration import INTEGRATION, integration_id, require_ready
from domain.project import PROJECT
from domain.project import require_open as require_open_project
from domain.refusal import FieldError, Invalid
from domain.release import ArtifactKind, Release, SourceRef
from domain.runtime import RUNTIMES, RUNTIMES_STREAM, days_until, require_allowed, require_deployable, standing
from domain.tenant import TENANT
from domain.trigger import check_trigger


class ArtifactMissing(Invalid):
    """The deployment has no artifact for a file it needs."""

    code = "artifact_missing"
    remedy = "Upload the file and name it in artifactFiles, or save it with the function."


class QueueDeployment(Command, frozen=True, kw_only=True, tag="QueueDeployment"):
    project_id: UUID
    function_id: UUID
    deployment_id: UUID
    provider: ProviderName
    target: Target
    artifact_files: ArtifactFiles = ArtifactFiles()
    reason: str = ""


class CancelDeployment(Command, frozen=True, kw_only=True, tag="CancelDeployment"):
    project_id: UUID
    deployment_id: UUID
    reason: str = ""


class UndeployDeployment(Command, frozen=True, kw_only=True, tag="UndeployDeployment"):
    project_id: UUID
    deployment_id: UUID
    reason: str = ""


DeploymentCommand = QueueDeployment | CancelDeployment | UndeployDeployment


def reads(command: DeploymentCommand) -> Reads:
    yield DEPLOYMENT, DEPLOYMENT.stream(command.tenant_id, command.deployment_id)
    if isinstance(command, QueueDeployment):
        yield PROJECT, PROJECT.stream(command.tenant_id, command.project_id)
        yield TENANT, TENANT.stream(command.tenant_id, command.tenant_id)
        yield FUNCTION, FUNCTION.stream(command.tenant_id, command.function_id)
        yield RUNTIMES, RUNTIMES_STREAM
        named = (command.artifact_files.code_file, command.artifact_files.docker_file, command.artifact_files.yaml_file)
        yield from ((ARTIFACT, ARTIFACT.stream(command.tenant_id, id)) for id in named if id is not None)
        yield INTEGRATION, INTEGRATION.stream(command.tenant_id, integration_id(command.project_id, command.provider))


def decide(command: DeploymentCommand, states: States) -> Decision:
    match command:
        case QueueDeployment():
            return _queue(command, states)
        case CancelDeployment():
            return _cancel(command, states)
        case UndeployDeployment():
            return _undeploy(command, states)
        case _:
            assert_never(command)


def _queue(command: QueueDeployment, states: States) -> Decision:
    if states.of(DEPLOYMENT, command.tenant_id, command.deployment_id).exists:
        raise DeploymentExists
    release, notices = _checked_release(command, states)
    function = states.of(FUNCTION, command.tenant_id, command.function_id)
    key = target_key(command.target)
    number = function.deployments_requested + 1
    queued = DeploymentQueued(
        project_id=command.project_id, number=number, release=release, reason=command.reason, warnings=notices
    )
    requested = DeploymentRequested(deployment_id=command.deployment_id, number=number, target_key=key)
    overtaken = _overtaken(command, function, key, states)
    limits = limits_of(command.tenant_id, states)
    return Decision(
        facts=(
            *facts(DEPLOYMENT.stream(command.tenant_id, command.deployment_id), queued),
            *facts(FUNCTION.stream(command.tenant_id, command.function_id), requested),
            *(fact for id in overtaken for fact in _supersede(command, id)),
        ),
        counters=(queue_counter(command.tenant_id, 1 - len(overtaken), limit=limits.queued_deployments),),
    )


def queue_counter(tenant_id: UUID, delta: int, *, limit: int | None = None) -> Counter:
    """How many of the tenant's deployments wait for a runner."""
    return Counter(tenant_id=tenant_id, scope="deployments", name="queued", delta=delta, limit=limit)


def _overtaken(command: QueueDeployment, function: Function, key: str, states: States) -> list[UUID]:
    """Deployments for the same target that no runner has begun."""
    rivals = [id for id, pending_key in function.pending.items() if pending_key == key]
    return [id for id in rivals if states.of(DEPLOYMENT, command.tenant_id, id).status == "queued"]


def _supersede(command: QueueDeployment, overtaken: UUID) -> tuple[Fact, ...]:
    return (
        *facts(
            DEPLOYMENT.stream(command.tenant_id, overtaken),
            DeploymentSuperseded(by_deployment_id=command.deployment_id),
            DeploymentCanceled(cause="superseded"),
        ),
        *facts(FUNCTION.stream(command.tenant_id, command.function_id), DeploymentEnded(deployment_id=overtaken)),
    )


def _checked_release(command: QueueDeployment, states: States) -> tuple[Release, tuple[Notice, ...]]:
    """All that is checked before a deployment is queued, in the order a person would mend it."""
    project = require_open_project(states.of(PROJECT, command.tenant_id, command.project_id))
    function = states.of(FUNCTION, command.tenant_id, command.function_id)
    authored = require_open(function, command.project_id)
    runtimes = states.at(RUNTIMES, RUNTIMES_STREAM)
    check_provider(command.target, command.provider, field="target")
    dates = require_deployable(runtimes, authored.runtime, command.at)
    check_trigger(authored.trigger, command.provider)
    sources, sdk_constraint, defaulted = _sources(command, authored.artifact_files, states)
    if sdk_constraint is not None:
        require_allowed(runtimes, authored.runtime, sdk_constraint, command.at)
    integration = require_ready(
        states.of(INTEGRATION, command.tenant_id, integration_id(command.project_id, command.provider))
    )
    notices: list[Notice] = []
    if dates.block_new_deploys_after and standing(dates, command.at).phase == "deprecating":
        days = days_until(dates.block_new_deploys_after, command.at)
        message = f"Runtime {authored.runtime} can be deployed until {dates.block_new_deploys_after:%Y-%m-%d}."
        notices.append(Notice(code="runtime_deprecating", message=message, days_remaining=days))
    if defaulted:
        message = f"Not named in the request, so the function's last staged file is used: {', '.join(defaulted)}."
        notices.append(Notice(code="artifact_files_defaulted", message=message))
    tenant = states.of(TENANT, command.tenant_id, command.tenant_id)
    release = Release(
        function_id=command.function_id,
        function_revision=function.revision,
        sources=sources,
        runtime=authored.runtime,
        trigger=authored.trigger,
        access=authored.access,
        environment=authored.environment,
        provider=command.provider,
        target=command.target,
        integration_version=integration.version,
        address=(tenant.slug, project.slug, function.slug),
    )
    return release, tuple(notices)


def _sources(
    command: QueueDeployment, saved: ArtifactFiles, states: States
) -> tuple[tuple[SourceRef, ...], str | None, list[str]]:
    """The files of the release, the pubspec's SDK constraint, and which files the request left to the function."""
    kinds: tuple[tuple[str, ArtifactKind], ...] = (
        ("code_file", "code"),
        ("docker_file", "docker"),
        ("yaml_file", "yaml"),
    )
    sources: list[SourceRef] = []
    defaulted: list[str] = []
    constraint: str | None = None
    for field, kind in kinds:
        named: UUID | None = getattr(command.artifact_files, field)
        artifact_id: UUID | None = named or getattr(saved, field)
        if artifact_id is None:
            if kind == "docker" and command.provider == "local":
                continue  # An engine that needs a Dockerfile says so itself.
            raise ArtifactMissing(
                f"The deployment has no {field}.",
                errors=(FieldError(field=f"artifactFiles.{field}", message="required"),),
            )
        if named is None:
            defaulted.append(field)
        source, sdk = _source(command, field, kind, artifact_id, states)
        constraint = sdk or constraint
        sources.append(source)
    return tuple(sources), constraint, defaulted


def _source(
    command: QueueDeployment, field: str, kind: ArtifactKind, artifact_id: UUID, states: States
) -> tuple[SourceRef, str | None]:
    artifact = states.of(ARTIFACT, command.tenant_id, artifact_id)
    if not artifact.exists or artifact.project_id != command.project_id:
        raise ArtifactUnknown(errors=(FieldError(field=f"artifactFiles.{field}", message="no such artifact"),))
    if artifact.kind != kind:
        message = f"this is an upload of {artifact.kind}, not of {kind}"
        raise ArtifactOfAnotherKind(errors=(FieldError(field=f"artifactFiles.{field}", message=message),))
    reference = SourceRef(
        kind=kind,
        artifact_id=artifact_id,
        file_name=artifact.file_name,
        digest=artifact.digest,
        size_bytes=artifact.size_bytes,
    )
    return reference, artifact.sdk_constraint


def _cancel(command: CancelDeployment, states: States) -> Decision:
    stream = DEPLOYMENT.stream(command.tenant_id, command.deployment_id)
    deployment = states.at(DEPLOYMENT, stream)
    release = require_of(deployment, command.project_id)
    if deployment.outcome is not None:
        raise DeploymentIsOver
    if deployment.cancel_requested:
        return Decision()  # Asking twice is not an error.
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
    active = any(active.deployment_id == deployment_id for active in function.active.values())
    return active or bool(deployment.remaining) or deployment.status == "undeploy_failed"


DEPLOYMENTS = Decider(commands=(QueueDeployment, CancelDeployment, UndeployDeployment), reads=reads, decide=decide)
