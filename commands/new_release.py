"""The release a deployment pins: everything that is checked before it is queued, in the order a person would mend it."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from commands.command import States
from commands.dockerfile import notices
from commands.entitlements import require_runtime_target
from domain.artifact import (
    ARTIFACT,
    Artifact,
    ArtifactGone,
    ArtifactOfAnotherKind,
    ArtifactOutOfReach,
    ArtifactUnknown,
)
from domain.clouds import ProviderName, Target, check_provider, provider_of
from domain.deployment import Notice
from domain.function import FUNCTION, ArtifactFiles, require_open
from domain.integration import INTEGRATION, Integration, integration_id, require_ready
from domain.placement import check_target, check_variables
from domain.project import PROJECT, require_unlocked
from domain.project import require_open as require_open_project
from domain.refusal import FieldError, Invalid
from domain.release import ArtifactKind, PinnedImage, Release, SourceRef
from domain.rollback import RollbackRuntimeEnded
from domain.runtime import (
    RUNTIMES,
    RUNTIMES_STREAM,
    Dates,
    Runtimes,
    days_until,
    require_allowed,
    require_deployable,
    standing,
)
from domain.tenant import TENANT
from domain.trigger import check_trigger


class ArtifactMissing(Invalid):
    """The deployment has no artifact for a file it needs."""

    code = "artifact_missing"
    remedy = "Upload the file and name it in artifactFiles, or save it with the function."


class MainMissing(Invalid):
    """The code has no `main`, so there is nothing to start."""

    code = "main_missing"
    remedy = "Declare `void main()` at the top level of main.dart and upload it again."


class SdkConstraintMissing(Invalid):
    """pubspec.yaml names no SDK; pub does not resolve packages without."""

    code = "sdk_constraint_missing"
    remedy = "Add environment.sdk to pubspec.yaml, and upload it again."


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a person asks to have deployed, and where."""

    tenant_id: UUID
    project_id: UUID
    function_id: UUID
    provider: ProviderName
    target: Target
    artifact_files: ArtifactFiles
    at: datetime


Checked = tuple[Release, tuple[Notice, ...]]


def new_release(wanted: Wanted, states: States) -> Checked:
    """The function as it is saved now, with what the caller should know. Raises what keeps it from being deployed."""
    project = require_open_project(states.of(PROJECT, wanted.tenant_id, wanted.project_id))
    require_unlocked(project, wanted.at)
    function = states.of(FUNCTION, wanted.tenant_id, wanted.function_id)
    authored = require_open(function, wanted.project_id)
    runtimes = states.at(RUNTIMES, RUNTIMES_STREAM)
    check_provider(wanted.target, wanted.provider, field="target")
    require_runtime_target(wanted.tenant_id, wanted.target, states)
    dates = require_deployable(runtimes, authored.runtime, wanted.at)
    check_trigger(authored.trigger, provider_of(wanted.target))
    sources, files, defaulted = _sources(wanted, authored.artifact_files, states)
    _check_files(files, authored.runtime, runtimes, wanted.at)
    integration = _integration(wanted.tenant_id, wanted.project_id, wanted.target, states)
    check_variables(authored.environment, function.secrets, wanted.target)
    tenant = states.of(TENANT, wanted.tenant_id, wanted.tenant_id)
    release = Release(
        function_id=wanted.function_id,
        function_revision=function.revision,
        sources=sources,
        runtime=authored.runtime,
        trigger=authored.trigger,
        access=authored.access,
        environment=authored.environment,
        secret_versions={name: value.version for name, value in function.secrets.items()},
        secret_values={name: value.value_id for name, value in function.secrets.items()},
        provider=wanted.provider,
        target=wanted.target,
        integration_version=integration.version,
        address=(tenant.slug, project.slug, function.slug),
    )
    return release, (*_retiring(authored.runtime, dates, wanted.at), *_defaulted(defaulted), *_reviewed(files))


def same_release(tenant_id: UUID, project_id: UUID, release: Release, at: datetime, states: States) -> Checked:
    """The very inputs of an earlier deployment, to be built again. Raises what keeps it from being deployed."""
    pinned = _repeatable(tenant_id, project_id, release, at, states)
    if release.image is not None:
        return _run_again(pinned, release.image, at, states)
    dates = require_deployable(states.at(RUNTIMES, RUNTIMES_STREAM), release.runtime, at)
    for source in release.sources:
        artifact = states.of(ARTIFACT, tenant_id, source.artifact_id)
        if artifact.discarded:
            raise ArtifactGone(f"{source.file_name} of that release is kept no longer.")
        _require_in_reach(tenant_id, artifact, f"sources.{source.kind}", states)
    return pinned, _retiring(release.runtime, dates, at)


def built_release(
    tenant_id: UUID, project_id: UUID, release: Release, image: PinnedImage, at: datetime, states: States
) -> Checked:
    """The inputs of an earlier deployment with what was built of them. Raises what keeps it from being run."""
    return _run_again(_repeatable(tenant_id, project_id, release, at, states), image, at, states)


def _repeatable(tenant_id: UUID, project_id: UUID, release: Release, at: datetime, states: States) -> Release:
    require_unlocked(require_open_project(states.of(PROJECT, tenant_id, project_id)), at)
    require_open(states.of(FUNCTION, tenant_id, release.function_id), project_id)
    check_trigger(release.trigger, provider_of(release.target))
    integration = _integration(tenant_id, project_id, release.target, states)
    check_variables(release.environment, release.secret_values, release.target)
    return msgspec.structs.replace(release, integration_version=integration.version)


def _run_again(release: Release, image: PinnedImage, at: datetime, states: States) -> Checked:
    """Nothing is built, so the runtime need only be one that may still be run."""
    dates = states.at(RUNTIMES, RUNTIMES_STREAM).dates.get(release.runtime)
    if dates is None or not standing(dates, at).executable:
        raise RollbackRuntimeEnded(f"Runtime {release.runtime} may no longer be run.")
    pinned = msgspec.structs.replace(release, image=image)
    if standing(dates, at).deployable:
        return pinned, _retiring(release.runtime, dates, at)
    message = f"Runtime {release.runtime} can no longer be built with; what was built with it may still run."
    left = days_until(dates.disable_execution_after, at) if dates.disable_execution_after else None
    return pinned, (Notice(code="runtime_not_deployable", message=message, days_remaining=left),)


def _integration(tenant_id: UUID, project_id: UUID, target: Target, states: States) -> Integration:
    """The project's connection, with which the target can be deployed to."""
    ready = require_ready(states.of(INTEGRATION, tenant_id, integration_id(project_id, provider_of(target))))
    check_target(target, ready.identity, ready.storage)
    return ready


def _retiring(runtime: str, dates: Dates, at: datetime) -> tuple[Notice, ...]:
    if not dates.block_new_deploys_after or standing(dates, at).phase != "deprecating":
        return ()
    days = days_until(dates.block_new_deploys_after, at)
    message = f"Runtime {runtime} can be deployed until {dates.block_new_deploys_after:%Y-%m-%d}."
    return (Notice(code="runtime_deprecating", message=message, days_remaining=days),)


def _defaulted(fields: list[str]) -> tuple[Notice, ...]:
    if not fields:
        return ()
    message = f"Not named in the request, so the function's last staged file is used: {', '.join(fields)}."
    return (Notice(code="artifact_files_defaulted", message=message),)


def _sources(
    wanted: Wanted, saved: ArtifactFiles, states: States
) -> tuple[tuple[SourceRef, ...], list[Artifact], list[str]]:
    """The files of the release, the artifacts they are, and which of them the request left to the function."""
    kinds: tuple[tuple[str, ArtifactKind], ...] = (
        ("code_file", "code"),
        ("docker_file", "docker"),
        ("yaml_file", "yaml"),
    )
    sources: list[SourceRef] = []
    defaulted: list[str] = []
    artifacts: list[Artifact] = []
    for field, kind in kinds:
        named: UUID | None = getattr(wanted.artifact_files, field)
        artifact_id: UUID | None = named or getattr(saved, field)
        if artifact_id is None:
            if kind == "docker" and wanted.provider == "local":
                continue  # An engine that needs a Dockerfile says so itself.
            raise ArtifactMissing(
                f"The deployment has no {field}.",
                errors=(FieldError(field=f"artifactFiles.{field}", message="required"),),
            )
        if named is None:
            defaulted.append(field)
        artifact = _artifact(wanted, field, kind, artifact_id, states)
        artifacts.append(artifact)
        sources.append(
            SourceRef(
                kind=kind,
                artifact_id=artifact_id,
                file_name=artifact.file_name,
                digest=artifact.digest,
                size_bytes=artifact.size_bytes,
            )
        )
    return tuple(sources), artifacts, defaulted


def _artifact(wanted: Wanted, field: str, kind: ArtifactKind, artifact_id: UUID, states: States) -> Artifact:
    artifact = states.of(ARTIFACT, wanted.tenant_id, artifact_id)
    if not artifact.exists or artifact.project_id != wanted.project_id:
        raise ArtifactUnknown(errors=(FieldError(field=f"artifactFiles.{field}", message="no such artifact"),))
    if artifact.kind != kind:
        message = f"this is an upload of {artifact.kind}, not of {kind}"
        raise ArtifactOfAnotherKind(errors=(FieldError(field=f"artifactFiles.{field}", message=message),))
    if artifact.discarded:
        raise ArtifactGone(errors=(FieldError(field=f"artifactFiles.{field}", message="kept no longer"),))
    _require_in_reach(wanted.tenant_id, artifact, f"artifactFiles.{field}", states)
    return artifact


def _require_in_reach(tenant_id: UUID, artifact: Artifact, field: str, states: States) -> None:
    """A file in a storage is read by the identity of its provider, as whom the project has to be connected still."""
    if artifact.kept is None:
        return
    provider = provider_of(artifact.kept.storage)
    if not states.of(INTEGRATION, tenant_id, integration_id(artifact.project_id, provider)).connected:
        message = (
            f"{artifact.file_name} lies at {artifact.kept.location}, and the project is not connected to {provider}."
        )
        raise ArtifactOutOfReach(message, errors=(FieldError(field=field, message=f"kept at {provider}"),))


def _check_files(files: list[Artifact], runtime: str, runtimes: Runtimes, at: datetime) -> None:
    for file in files:
        if file.kind == "code" and file.has_main is False:
            raise MainMissing(errors=(FieldError(field="artifactFiles.code_file", message="no main"),))
        if file.kind == "yaml":
            if file.sdk_constraint is None:
                raise SdkConstraintMissing(
                    errors=(FieldError(field="artifactFiles.yaml_file", message="environment.sdk is missing"),),
                    remedy=f"Add to pubspec.yaml, and upload it again: environment: {{sdk: ^{runtime}}}",
                )
            require_allowed(runtimes, runtime, file.sdk_constraint, at)


def _reviewed(files: list[Artifact]) -> tuple[Notice, ...]:
    return tuple(notice for file in files if file.dockerfile is not None for notice in notices(file.dockerfile))
