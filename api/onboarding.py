"""The steps by which a project is connected to a provider: the same for every cloud, whatever its fields are."""

from __future__ import annotations

from datetime import datetime
from typing import Any, assert_never
from uuid import UUID

import msgspec
from litestar import Request

from api.answer import Answer
from api.operation import Operation
from api.refusals import ProviderAway, ProviderRefusedUs
from api.services import Services, services_of
from api.targets import ProviderNotOffered, offered
from api.writing import Reply, Writing, recorded_time
from commands.basis import fold
from commands.command import States
from commands.integration import (
    ConfigureStorage,
    ConnectProvider,
    DisconnectProvider,
    IntegrationCommand,
    RecordIdentityChecked,
    RecordResourcesChecked,
    RecordStorageChecked,
)
from commands.spreading import glanced
from domain.clouds import AwsNamed, AzureResources, Identity, ProviderName, Storage, provider_of
from domain.event import StreamRef
from domain.integration import (
    INTEGRATION,
    Check,
    CheckStatus,
    CheckStep,
    IdentityChanged,
    IntegrationUnknown,
    integration_id,
)
from domain.integration import Integration as State
from domain.project import PROJECT, ProjectIsArchived, ProjectUnknown, require_open
from domain.refusal import Refusal
from projections.integrations import Integration
from providers.provider import Finding


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at, step by step, and what mends the one that failed."""

    status: CheckStatus
    steps: tuple[CheckStep, ...]


# What may be wrong with the project and its connection, and with the cloud it is about.
CONNECTED = (
    ProjectUnknown,
    ProjectIsArchived,
    IntegrationUnknown,
    IdentityChanged,
    ProviderNotOffered,
    ProviderRefusedUs,
    ProviderAway,
)


def onboarding(
    name: str,
    summary: str,
    *own: type[Refusal],
    takes: Any,
    example: object,
    answers: dict[int, Any],
) -> Operation:
    """The operation of a route that takes one of these steps."""
    return Operation(
        name=name,
        permission="integrations:write",
        summary=summary,
        tag="Integrations",
        takes=takes,
        answers=answers,
        example=example,
        writes=True,
        if_match=True,
        refusals=(*CONNECTED, *own),
    )


async def connect(request: Request[Any, Any, Any], content: bytes, project_id: UUID, identity: Identity) -> Answer:
    """Record as whom the project meets the cloud; nothing is asked of the cloud. `content` is the body as it was sent."""
    writing, provider = Writing(request, content), provider_of(identity)
    command = ConnectProvider(**writing.asked, project_id=project_id, provider=provider, identity=identity)
    location = f"/api/v1/projects/{project_id}/integrations/{provider}"

    def answer(states: States) -> Reply:
        reply = _integration(command, states)
        first = _state(command, states).created_at is None
        return msgspec.structs.replace(reply, status=201, location=location) if first else reply

    return await writing.do(command, answer, entity=_stream(command))


async def verify(request: Request[Any, Any, Any], content: bytes, project_id: UUID, provider: ProviderName) -> Answer:
    """Ask the cloud whether it knows the identity, once, and record what it showed."""
    writing, services = Writing(request, content), services_of(request)
    tenant_id = writing.principal.tenant_id
    identity = await identity_of(services, tenant_id, project_id, provider)
    finding = await offered(services, provider).verify_identity(tenant_id, project_id, identity)
    return await record_checked(writing, project_id, identity, finding)


async def record_checked(
    writing: Writing,
    project_id: UUID,
    identity: Identity,
    finding: Finding,
    *,
    connects: bool = False,
    named: AwsNamed | None = None,
) -> Answer:
    """Record what was seen of the identity, and of what was `named`; with `connects` the project is connected as it, if it was not yet."""
    command = RecordIdentityChecked(
        **writing.asked,
        project_id=project_id,
        provider=provider_of(identity),
        identity=identity,
        status=finding.status,
        steps=steps_of(finding),
        spreads_seconds=finding.spreads_seconds,
        connects=connects,
        named=named,
    )
    return await writing.do(command, lambda states: _verification(command, states), entity=_stream(command))


async def check(request: Request[Any, Any, Any], content: bytes, project_id: UUID, storage: Storage) -> Answer:
    """Ask the cloud whether files can be staged there, once, and record what it showed."""
    writing, services, provider = Writing(request, content), services_of(request), provider_of(storage)
    tenant_id = writing.principal.tenant_id
    identity = await identity_of(services, tenant_id, project_id, provider)
    finding = await offered(services, provider).check_storage(tenant_id, project_id, identity, storage)
    command = RecordStorageChecked(
        **writing.asked,
        project_id=project_id,
        provider=provider,
        identity=identity,
        storage=storage,
        status=finding.status,
        steps=steps_of(finding),
        spreads_seconds=finding.spreads_seconds,
    )
    return await writing.do(command, lambda states: _verification(command, states), entity=_stream(command))


async def record_resources(
    request: Request[Any, Any, Any],
    content: bytes,
    project_id: UUID,
    identity: Identity,
    resources: AzureResources,
    finding: Finding,
) -> Answer:
    """Record what was seen of the resources with this identity."""
    writing = Writing(request, content)
    command = RecordResourcesChecked(
        **writing.asked,
        project_id=project_id,
        provider=provider_of(resources),
        identity=identity,
        resources=resources,
        status=finding.status,
        steps=steps_of(finding),
        spreads_seconds=finding.spreads_seconds,
    )
    return await writing.do(command, lambda states: _verification(command, states), entity=_stream(command))


async def configure(request: Request[Any, Any, Any], content: bytes, project_id: UUID, storage: Storage) -> Answer:
    """Keep the project's files there from now on."""
    writing = Writing(request, content)
    command = ConfigureStorage(**writing.asked, project_id=project_id, provider=provider_of(storage), storage=storage)
    return await writing.do(command, lambda states: _integration(command, states), entity=_stream(command))


async def disconnect(
    request: Request[Any, Any, Any], content: bytes, project_id: UUID, provider: ProviderName, reason: str
) -> Answer:
    """Deploy there no more; what is live there stays, and can still be undeployed as it was deployed."""
    writing = Writing(request, content)
    command = DisconnectProvider(**writing.asked, project_id=project_id, provider=provider, reason=reason)
    return await writing.do(command, lambda states: _integration(command, states), entity=_stream(command))


async def identity_of(services: Services, tenant_id: UUID, project_id: UUID, provider: ProviderName) -> Identity:
    """The identity as the log has it, before the cloud is asked anything. Raises IntegrationUnknown."""
    state = await integration_state(services, tenant_id, project_id, provider)
    assert state.identity is not None, "what is connected has an identity"
    return state.identity


async def integration_state(services: Services, tenant_id: UUID, project_id: UUID, provider: ProviderName) -> State:
    """The connected integration as the log has it. Raises IntegrationUnknown."""
    require_open(await fold(services.log, PROJECT, PROJECT.stream(tenant_id, project_id)))
    stream = INTEGRATION.stream(tenant_id, integration_id(project_id, provider))
    state: State = await fold(services.log, INTEGRATION, stream)
    if not state.connected:
        raise IntegrationUnknown
    return state


def unrecorded(finding: Finding, state: State, at: datetime) -> Verification:
    """What is answered to a look at everything, of which nothing is recorded."""
    known = [state.identity_check]
    if state.storage_checked is not None:
        known.append(state.storage_check(state.storage_checked))
    seen = glanced(finding.status, steps_of(finding), known, at)
    return Verification(status=seen.status, steps=seen.steps)


def steps_of(finding: Finding) -> tuple[CheckStep, ...]:
    """The steps of a finding as the log keeps them."""
    return tuple(CheckStep(**msgspec.structs.asdict(step)) for step in finding.steps)


def _verification(
    command: RecordIdentityChecked | RecordStorageChecked | RecordResourcesChecked, states: States
) -> Reply:
    """As it was recorded: what a refusal is taken for is decided by what was seen before."""
    check = _check(command, _state(command, states))
    return Reply(body=Verification(status=check.status, steps=check.steps), position="none")


def _check(command: RecordIdentityChecked | RecordStorageChecked | RecordResourcesChecked, state: State) -> Check:
    match command:
        case RecordIdentityChecked():
            return state.identity_check
        case RecordStorageChecked():
            return state.storage_check(command.storage)
        case RecordResourcesChecked():
            return state.resources_check(command.resources)
        case _:
            assert_never(command)


def _stream(command: IntegrationCommand) -> StreamRef:
    return INTEGRATION.stream(command.tenant_id, integration_id(command.project_id, command.provider))


def _state(command: IntegrationCommand, states: States) -> State:
    return states.at(INTEGRATION, _stream(command))


def _integration(command: IntegrationCommand, states: States) -> Reply:
    state = _state(command, states)
    body = Integration(
        integration_id=integration_id(command.project_id, command.provider),
        project_id=command.project_id,
        provider=command.provider,
        status=state.status,
        version=state.version,
        identity=state.identity,
        identity_status=state.identity_status,
        identity_steps=state.identity_steps,
        storage=state.storage,
        storage_checked=state.storage_checked,
        storage_status=state.storage_status,
        storage_steps=state.storage_steps,
        resources=state.resources,
        resources_status=state.resources_status,
        resources_steps=state.resources_steps,
        former_storages=state.former_storages,
        created_at=recorded_time(state.created_at),
        updated_at=recorded_time(state.updated_at),
    )
    return Reply(body=body, position="last" if state.updated_at is None else "unchanged")
