"""Commands about functions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any, assert_never
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from commands.command import Command, Decider, Reads, States, facts
from commands.limits import limits_of
from domain.artifact import ARTIFACT, ArtifactOfAnotherKind, ArtifactUnknown
from domain.clouds import ProviderName
from domain.deployment import DEPLOYMENT, UndeployRequested
from domain.event import Claim, Counter, Decision, Fact, StreamRef
from domain.function import (
    FUNCTION,
    ArchiveRequested,
    ArtifactFiles,
    Authored,
    EnvironmentNameNotAllowed,
    EnvironmentTooLarge,
    EnvironmentValueNotAllowed,
    Function,
    FunctionArchived,
    FunctionCreated,
    FunctionIsLive,
    FunctionUpdated,
    NameOfBoth,
    SecretRemoved,
    SecretSet,
    SecretUnknown,
    TooManySecrets,
    require_open,
)
from domain.naming import check_name, slug
from domain.project import PROJECT
from domain.project import require_open as require_open_project
from domain.refusal import Conflict, FieldError
from domain.release import Access, ArtifactKind, Trigger
from domain.runtime import RUNTIMES, RUNTIMES_STREAM, default_of, require_selectable
from domain.tenant import TENANT
from domain.trigger import check_trigger

# What a command says of the runtime that leaves it to the catalog.
DEFAULT_RUNTIME = ""
ENVIRONMENT_VARIABLES_MAX = 100
ENVIRONMENT_BYTES_MAX = 32_768
SECRETS_MAX = 50
ENVIRONMENT_NAME_PATTERN = "^[A-Za-z_][A-Za-z0-9_]{0,127}$"
_ENVIRONMENT_NAME = re.compile(ENVIRONMENT_NAME_PATTERN.strip("^$"))


class FunctionExists(Conflict):
    """The function was created before."""

    code = "function_exists"


class CreateFunction(Command, frozen=True, kw_only=True, tag="CreateFunction"):
    project_id: UUID
    function_id: UUID
    authored: Authored


class FileChanges(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The files to change; what is unset stays, and None takes a file from the record."""

    code_file: UUID | UnsetType | None = UNSET
    docker_file: UUID | UnsetType | None = UNSET
    yaml_file: UUID | UnsetType | None = UNSET


class Changes(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fields of the record to change; what is unset stays as it is."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    trigger: Trigger | UnsetType = UNSET
    runtime: str | UnsetType = UNSET
    access: Access | UnsetType = UNSET
    provider: ProviderName | UnsetType | None = UNSET
    environment: dict[str, str] | UnsetType = UNSET
    artifact_files: FileChanges = FileChanges()


class UpdateFunction(Command, frozen=True, kw_only=True, tag="UpdateFunction"):
    """Without `project_id` the function is taken from whichever of the tenant's projects it is in."""

    function_id: UUID
    project_id: UUID | None = None
    changes: Changes


class ArchiveFunction(Command, frozen=True, kw_only=True, tag="ArchiveFunction"):
    """With `undeploy_first` what is active is undeployed, and the function archived when the last of it is gone."""

    project_id: UUID
    function_id: UUID
    reason: str = ""
    undeploy_first: bool = False


class SetSecret(Command, frozen=True, kw_only=True, tag="SetSecret"):
    """The value is kept, closed, under `value_id` before this is asked."""

    project_id: UUID
    function_id: UUID
    name: str
    value_id: UUID


class RemoveSecret(Command, frozen=True, kw_only=True, tag="RemoveSecret"):
    project_id: UUID
    function_id: UUID
    name: str


FunctionCommand = CreateFunction | UpdateFunction | ArchiveFunction | SetSecret | RemoveSecret


def reads(command: FunctionCommand) -> Reads:
    yield FUNCTION, FUNCTION.stream(command.tenant_id, command.function_id)
    yield RUNTIMES, RUNTIMES_STREAM
    yield TENANT, TENANT.stream(command.tenant_id, command.tenant_id)
    if command.project_id is not None:
        yield PROJECT, PROJECT.stream(command.tenant_id, command.project_id)


def decide(command: FunctionCommand, states: States) -> Decision:
    match command:
        case CreateFunction():
            return _create(command, states)
        case UpdateFunction():
            return _update(command, states)
        case ArchiveFunction():
            return _archive(command, states)
        case SetSecret():
            return _set_secret(command, states)
        case RemoveSecret():
            return _remove_secret(command, states)
        case _:
            assert_never(command)


def _create(command: CreateFunction, states: States) -> Decision:
    require_open_project(states.of(PROJECT, command.tenant_id, command.project_id))
    stream = FUNCTION.stream(command.tenant_id, command.function_id)
    if states.at(FUNCTION, stream).exists:
        raise FunctionExists
    authored = _with_runtime(command.authored, states, command.at)
    require_selectable(states.at(RUNTIMES, RUNTIMES_STREAM), authored.runtime, command.at)
    _check(authored, command, command.project_id, states)
    segment = slug(authored.name)
    return Decision(
        facts=facts(stream, FunctionCreated(project_id=command.project_id, slug=segment, authored=authored)),
        claims=(_claim(command, command.project_id, segment),),
        counters=(
            Counter(
                tenant_id=command.tenant_id,
                scope="functions",
                name=str(command.project_id),
                delta=1,
                limit=limits_of(command.tenant_id, states).functions_per_project,
            ),
        ),
    )


def _update(command: UpdateFunction, states: States) -> Decision:
    stream = FUNCTION.stream(command.tenant_id, command.function_id)
    function = states.at(FUNCTION, stream)
    before = require_open(function, command.project_id)
    require_open_project(states.of(PROJECT, command.tenant_id, function.project_id))
    after = _with_runtime(_changed(before, command.changes), states, command.at)
    if after == before:
        return Decision()
    if after.runtime != before.runtime:
        require_selectable(states.at(RUNTIMES, RUNTIMES_STREAM), after.runtime, command.at)
    _check_changed(before, after, command, function.project_id, states)
    for name in after.environment.keys() & function.secrets.keys():
        raise NameOfBoth(errors=(FieldError(field=f"environment.{name}", message="a secret has this name"),))
    return Decision(
        facts=facts(stream, FunctionUpdated(authored=after)), claims=_renaming(command, function, before, after)
    )


def _set_secret(command: SetSecret, states: States) -> Decision:
    stream, function = _open_function(command, states)
    authored = require_open(function, command.project_id)
    check_variable_name(command.name, field="name")
    if command.name in authored.environment:
        raise NameOfBoth(errors=(FieldError(field="name", message="a variable has this name"),))
    if command.name not in function.secrets and len(function.secrets) >= SECRETS_MAX:
        raise TooManySecrets(f"{len(function.secrets)} of at most {SECRETS_MAX} secrets are set.")
    version = function.secret_versions.get(command.name, 0) + 1
    return Decision(facts=facts(stream, SecretSet(name=command.name, version=version, value_id=command.value_id)))


def _remove_secret(command: RemoveSecret, states: States) -> Decision:
    stream, function = _open_function(command, states)
    if command.name not in function.secrets:
        raise SecretUnknown
    return Decision(facts=facts(stream, SecretRemoved(name=command.name)))


def _open_function(command: SetSecret | RemoveSecret, states: States) -> tuple[StreamRef, Function]:
    stream = FUNCTION.stream(command.tenant_id, command.function_id)
    function = states.at(FUNCTION, stream)
    require_open(function, command.project_id)
    require_open_project(states.of(PROJECT, command.tenant_id, command.project_id))
    return stream, function


def _changed(authored: Authored, changes: Changes) -> Authored:
    named, files = _named(changes), _named(changes.artifact_files)
    named["artifact_files"] = msgspec.structs.replace(authored.artifact_files, **files)
    return msgspec.structs.replace(authored, **named)


def _with_runtime(authored: Authored, states: States, at: datetime) -> Authored:
    if authored.runtime != DEFAULT_RUNTIME:
        return authored
    runtimes = states.at(RUNTIMES, RUNTIMES_STREAM)
    # Where there is nothing to choose, the one that was chosen is refused by its name.
    runtime = default_of(runtimes.default, runtimes.dates, at) or runtimes.default
    return msgspec.structs.replace(authored, runtime=runtime)


def _named(changes: Changes | FileChanges) -> dict[str, Any]:
    return {name: value for name in changes.__struct_fields__ if (value := getattr(changes, name)) is not UNSET}


def _renaming(command: UpdateFunction, function: Function, before: Authored, after: Authored) -> tuple[Claim, ...]:
    if before.name == after.name:
        return ()
    old, new = slug(before.name), slug(after.name)
    if old == new:
        return ()
    claims = [_claim(command, function.project_id, new)]
    # The segment the function began with stays its own: it answers under it.
    if old != function.slug:
        claims.append(_claim(command, function.project_id, old, release=True))
    return tuple(claims)


def _archive(command: ArchiveFunction, states: States) -> Decision:
    stream = FUNCTION.stream(command.tenant_id, command.function_id)
    function = states.at(FUNCTION, stream)
    if function.archived and function.project_id == command.project_id:
        return Decision()
    require_open(function, command.project_id)
    if function.pending:
        raise FunctionIsLive(f"Deployments are under way: {_listed(function.pending)}.")
    if not function.active:
        return archived(stream, function, command.reason)
    active = [deployment.deployment_id for deployment in function.active.values()]
    if not command.undeploy_first:
        raise FunctionIsLive(f"Deployments are active: {_listed(active)}.")
    asked = () if function.archive_requested is not None else facts(stream, ArchiveRequested(reason=command.reason))
    return Decision(facts=(*asked, *(fact for id in active for fact in _undeploy(command, id, states))))


def archived(stream: StreamRef, function: Function, reason: str) -> Decision:
    """The function is put away, and its names and its place in the project's count are given back."""
    assert function.authored is not None, "what was never created is not archived"
    keys = {f"{function.project_id}/{segment}" for segment in (function.slug, slug(function.authored.name))}
    return Decision(
        facts=facts(stream, FunctionArchived(reason=reason)),
        claims=tuple(
            Claim(tenant_id=stream.tenant_id, scope="function", key=key, holder=stream.id, release=True)
            for key in sorted(keys)
        ),
        counters=(Counter(tenant_id=stream.tenant_id, scope="functions", name=str(function.project_id), delta=-1),),
    )


def _undeploy(command: ArchiveFunction, deployment_id: UUID, states: States) -> tuple[Fact, ...]:
    stream = DEPLOYMENT.stream(command.tenant_id, deployment_id)
    if states.at(DEPLOYMENT, stream).status in ("undeploy_queued", "undeploying"):
        return ()
    return facts(stream, UndeployRequested(reason=command.reason))


def _listed(ids: Iterable[UUID]) -> str:
    return ", ".join(str(id) for id in ids)


def _check(authored: Authored, command: FunctionCommand, project_id: UUID, states: States) -> None:
    check_name(authored.name)
    check_trigger(authored.trigger, authored.provider)
    _check_environment(authored.environment)
    _check_files(authored.artifact_files, command.tenant_id, project_id, states)


def _check_changed(
    before: Authored, after: Authored, command: FunctionCommand, project_id: UUID, states: States
) -> None:
    """What stays as it was has been checked before."""
    if after.name != before.name:
        check_name(after.name)
    if after.trigger != before.trigger or after.provider != before.provider:
        check_trigger(after.trigger, after.provider)
    if after.environment != before.environment:
        _check_environment(after.environment)
    if after.artifact_files != before.artifact_files:
        _check_files(after.artifact_files, command.tenant_id, project_id, states)


def _check_environment(environment: dict[str, str]) -> None:
    size = sum(len(name) + len(value.encode()) for name, value in environment.items())
    if len(environment) > ENVIRONMENT_VARIABLES_MAX or size > ENVIRONMENT_BYTES_MAX:
        most = f"Keep to {ENVIRONMENT_VARIABLES_MAX} variables and {ENVIRONMENT_BYTES_MAX} bytes in all."
        held = f"{len(environment)} variables, {size} bytes"
        raise EnvironmentTooLarge(errors=(FieldError(field="environment", message=held),), remedy=most)
    for name, value in environment.items():
        field = f"environment.{name}"[:160]
        check_variable_name(name, field=field)
        if "\0" in value:
            raise EnvironmentValueNotAllowed(errors=(FieldError(field=field, message="it holds the zero byte"),))


def check_variable_name(name: str, *, field: str) -> None:
    """Raise EnvironmentNameNotAllowed unless a variable of a function, or a secret, may have this name."""
    ours = name == "PORT" or name.startswith("DCF_")
    if ours or not _ENVIRONMENT_NAME.fullmatch(name):
        raise EnvironmentNameNotAllowed(errors=(FieldError(field=field, message=EnvironmentNameNotAllowed.remedy),))


def _check_files(files: ArtifactFiles, tenant_id: UUID, project_id: UUID, states: States) -> None:
    wanted: tuple[tuple[str, UUID | None, ArtifactKind], ...] = (
        ("code_file", files.code_file, "code"),
        ("docker_file", files.docker_file, "docker"),
        ("yaml_file", files.yaml_file, "yaml"),
    )
    for field, artifact_id, kind in wanted:
        if artifact_id is None:
            continue
        artifact = states.of(ARTIFACT, tenant_id, artifact_id)
        if not artifact.exists or artifact.project_id != project_id:
            raise ArtifactUnknown(errors=(FieldError(field=f"artifactFiles.{field}", message="no such artifact"),))
        if artifact.kind != kind:
            message = f"this is an upload of {artifact.kind}, not of {kind}"
            raise ArtifactOfAnotherKind(errors=(FieldError(field=f"artifactFiles.{field}", message=message),))


def _claim(command: FunctionCommand, project_id: UUID, key: str, *, release: bool = False) -> Claim:
    return Claim(
        tenant_id=command.tenant_id,
        scope="function",
        key=f"{project_id}/{key}",
        holder=command.function_id,
        release=release,
    )


FUNCTIONS = Decider(
    commands=(CreateFunction, UpdateFunction, ArchiveFunction, SetSecret, RemoveSecret), reads=reads, decide=decide
)
