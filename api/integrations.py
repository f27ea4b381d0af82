"""Integrations: connect a project to this machine, verify it, check and configure its storage; get, list."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from api.answer import Answer, entity
from api.as_of import AS_OF, reached_as_of
from api.body import read
from api.listing import PAGE_PARAMETERS, Listed, asked, page, row_bytes
from api.operation import Operation
from api.reading import found_or, require_project, tenant_of
from api.services import Services, services_of
from api.targets import offered
from api.writing import Reply, Writing, recorded_time
from commands.command import States
from commands.execute import fold
from commands.integration import (
    ConfigureStorage,
    ConnectProvider,
    IntegrationCommand,
    RecordIdentityChecked,
    RecordStorageChecked,
)
from domain.clouds import PROVIDERS, LocalIdentity, LocalStorage, ProviderName
from domain.event import StreamRef
from domain.integration import INTEGRATION, CheckStatus, CheckStep, IntegrationUnknown, integration_id
from domain.integration import Integration as State
from domain.project import PROJECT, require_open
from projections.integrations import INTEGRATION_GET, INTEGRATIONS_LIST, Integration
from providers.provider import Finding


class LocalRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """This machine takes no fields."""


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at, step by step, and what mends the one that failed."""

    status: CheckStatus
    steps: tuple[CheckStep, ...]


def _operation(name: str, summary: str, answers: dict[int, Any]) -> Operation:
    return Operation(
        name=name,
        permission="integrations:write",
        summary=summary,
        tag="Integrations",
        takes=LocalRequest,
        answers=answers,
        example={},
        writes=True,
        refusals=(404, 409, 412),
    )


_CONNECT = _operation("connectLocal", "Connect the project to this machine", {200: Integration, 201: Integration})


@post("/projects/{project_id:uuid}/integrations/local/connect", status_code=200, opt=_CONNECT.as_opt())
async def connect_local(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    _, content = await read(request, LocalRequest)
    writing = Writing(request, content)
    command = ConnectProvider(**writing.asked, project_id=project_id, provider="local", identity=LocalIdentity())
    location = f"/api/v1/projects/{project_id}/integrations/local"

    def answer(states: States) -> Reply:
        reply = _integration(command, states)
        first = _state(command, states).created_at is None
        return msgspec.structs.replace(reply, status=201, location=location) if first else reply

    return await writing.do(command, answer, entity=_stream(command))


_VERIFY = _operation("verifyLocal", "Look whether this machine can build and run functions", {200: Verification})


@post("/projects/{project_id:uuid}/integrations/local/verify", status_code=200, opt=_VERIFY.as_opt())
async def verify_local(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    _, content = await read(request, LocalRequest)
    writing = Writing(request, content)
    tenant_id = writing.principal.tenant_id
    services = services_of(request)
    connected = await _connected(services, tenant_id, project_id, "local")
    finding = await offered(services, "local").verify_identity(tenant_id, project_id, connected.identity)
    command = RecordIdentityChecked(
        **writing.asked, project_id=project_id, provider="local", status=finding.status, steps=_steps(finding)
    )
    return await writing.do(command, lambda _: _verification(command), entity=_stream(command))


_CHECK = _operation("checkLocalBucket", "Look whether this machine can keep files", {200: Verification})


@post("/projects/{project_id:uuid}/integrations/local/bucket/check", status_code=200, opt=_CHECK.as_opt())
async def check_local_bucket(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    _, content = await read(request, LocalRequest)
    writing = Writing(request, content)
    tenant_id = writing.principal.tenant_id
    services = services_of(request)
    await _connected(services, tenant_id, project_id, "local")
    storage = LocalStorage()
    finding = await offered(services, "local").check_storage(tenant_id, project_id, storage)
    command = RecordStorageChecked(
        **writing.asked,
        project_id=project_id,
        provider="local",
        storage=storage,
        status=finding.status,
        steps=_steps(finding),
    )
    return await writing.do(command, lambda _: _verification(command), entity=_stream(command))


_CONFIGURE = _operation("configureLocalBucket", "Keep the project's files on this machine", {200: Integration})


@post("/projects/{project_id:uuid}/integrations/local/bucket/config", status_code=200, opt=_CONFIGURE.as_opt())
async def configure_local_bucket(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    _, content = await read(request, LocalRequest)
    writing = Writing(request, content)
    command = ConfigureStorage(**writing.asked, project_id=project_id, provider="local", storage=LocalStorage())
    return await writing.do(command, lambda states: _integration(command, states), entity=_stream(command))


def _getter(provider: ProviderName) -> HTTPRouteHandler:
    """The route of one provider's integration: beside literal segments Litestar's router takes no parameter."""
    operation = Operation(
        name=f"get{provider.capitalize()}Integration",
        permission="integrations:read",
        summary=f"Get the project's integration with {provider}",
        tag="Integrations",
        answers={200: Integration},
        query=(AS_OF,),
        refusals=(404,),
    )

    @get(f"/projects/{{project_id:uuid}}/integrations/{provider}", opt=operation.as_opt())
    async def get_integration(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
        services = await reached_as_of(request)
        found = await services.reader.one(INTEGRATION_GET, tenant_of(request), project_id, provider)
        known = found_or(IntegrationUnknown, found)
        return entity(request, row_bytes(INTEGRATION_GET, known), known.position)

    return get_integration


_LIST = Operation(
    name="listIntegrations",
    permission="integrations:read",
    summary="List the project's integrations, oldest first",
    tag="Integrations",
    answers={200: Listed[Integration]},
    query=(*PAGE_PARAMETERS, AS_OF),
    refusals=(404,),
)


@get("/projects/{project_id:uuid}/integrations", opt=_LIST.as_opt())
async def list_integrations(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    services, tenant_id = await reached_as_of(request), tenant_of(request)
    wanted = await asked(request, services, (AS_OF,))
    found = await services.reader.page(INTEGRATIONS_LIST, tenant_id, project_id, after=wanted.after, limit=wanted.limit)
    if not found.items:
        await require_project(services, tenant_id, project_id)
    return await page(services, INTEGRATIONS_LIST, found)


async def _connected(services: Services, tenant_id: UUID, project_id: UUID, provider: ProviderName) -> State:
    """The integration as the log has it, before the cloud is asked anything."""
    require_open(await fold(services.log, PROJECT, PROJECT.stream(tenant_id, project_id)))
    stream = INTEGRATION.stream(tenant_id, integration_id(project_id, provider))
    state: State = await fold(services.log, INTEGRATION, stream)
    if not state.connected:
        raise IntegrationUnknown
    return state


def _steps(finding: Finding) -> tuple[CheckStep, ...]:
    return tuple(CheckStep(**msgspec.structs.asdict(step)) for step in finding.steps)


def _verification(command: RecordIdentityChecked | RecordStorageChecked) -> Reply:
    return Reply(body=Verification(status=command.status, steps=command.steps), position="unchanged")


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
        created_at=recorded_time(state.created_at),
        updated_at=recorded_time(state.updated_at),
    )
    return Reply(body=body, position="last" if state.updated_at is None else "unchanged")


INTEGRATION_ROUTES = (
    connect_local,
    verify_local,
    check_local_bucket,
    configure_local_bucket,
    list_integrations,
    *(_getter(provider) for provider in PROVIDERS),
)
