"""Integrations: connect a project to this machine, verify it, check and configure its storage; get, list."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from api import onboarding
from api.answer import Answer, entity
from api.as_of import AS_OF, reached_as_of
from api.body import read
from api.listing import PAGE_PARAMETERS, Listed, asked, page, row_bytes
from api.onboarding import Verification
from api.operation import Operation
from api.reading import found_or, require_project, tenant_of
from domain.clouds import PROVIDERS, LocalIdentity, LocalStorage, ProviderName
from domain.integration import IntegrationUnknown, StorageNotChecked
from domain.project import ProjectUnknown
from domain.refusal import Refusal
from projections.integrations import INTEGRATION_GET, INTEGRATIONS_LIST, Integration


class LocalRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """This machine takes no fields."""


class DisconnectRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why, for the audit trail."""

    reason: Annotated[str, msgspec.Meta(max_length=500, examples=["the account is closed"])] = ""


def _operation(name: str, summary: str, answers: dict[int, Any], *own: type[Refusal]) -> Operation:
    return onboarding.onboarding(name, summary, *own, takes=LocalRequest, example={}, answers=answers)


_CONNECT = _operation("connectLocal", "Connect the project to this machine", {200: Integration, 201: Integration})


@post("/projects/{project_id:uuid}/integrations/local/connect", status_code=200, opt=_CONNECT.as_opt())
async def connect_local(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    _, content = await read(request, LocalRequest)
    return await onboarding.connect(request, content, project_id, LocalIdentity())


_VERIFY = _operation("verifyLocal", "Look whether this machine can build and run functions", {200: Verification})


@post("/projects/{project_id:uuid}/integrations/local/verify", status_code=200, opt=_VERIFY.as_opt())
async def verify_local(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    _, content = await read(request, LocalRequest)
    return await onboarding.verify(request, content, project_id, "local")


_CHECK = _operation("checkLocalBucket", "Look whether this machine can keep files", {200: Verification})


@post("/projects/{project_id:uuid}/integrations/local/bucket/check", status_code=200, opt=_CHECK.as_opt())
async def check_local_bucket(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    _, content = await read(request, LocalRequest)
    return await onboarding.check(request, content, project_id, LocalStorage())


_CONFIGURE = _operation(
    "configureLocalBucket", "Keep the project's files on this machine", {200: Integration}, StorageNotChecked
)


@post("/projects/{project_id:uuid}/integrations/local/bucket/config", status_code=200, opt=_CONFIGURE.as_opt())
async def configure_local_bucket(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    _, content = await read(request, LocalRequest)
    return await onboarding.configure(request, content, project_id, LocalStorage())


def _getter(provider: ProviderName) -> HTTPRouteHandler:
    """The route of one provider's integration: beside literal segments Litestar's router takes no parameter."""
    operation = Operation(
        name=f"get{provider.capitalize()}Integration",
        permission="integrations:read",
        summary=f"Get the project's integration with {provider}",
        tag="Integrations",
        answers={200: Integration},
        query=(AS_OF,),
        refusals=(IntegrationUnknown,),
    )

    @get(f"/projects/{{project_id:uuid}}/integrations/{provider}", opt=operation.as_opt())
    async def get_integration(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
        services = await reached_as_of(request)
        found = await services.reader.one(INTEGRATION_GET, tenant_of(request), project_id, provider)
        known = found_or(IntegrationUnknown, found)
        return entity(request, row_bytes(INTEGRATION_GET, known), known.position)

    return get_integration


def _disconnector(provider: ProviderName) -> HTTPRouteHandler:
    operation = onboarding.onboarding(
        f"disconnect{provider.capitalize()}",
        f"Deploy to {provider} no more; what is live there stays until it is undeployed",
        takes=DisconnectRequest,
        example={"reason": "the account is closed"},
        answers={200: Integration},
    )

    @post(f"/projects/{{project_id:uuid}}/integrations/{provider}/disconnect", status_code=200, opt=operation.as_opt())
    async def disconnect(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
        asked_for, content = await read(request, DisconnectRequest)
        return await onboarding.disconnect(request, content, project_id, provider, asked_for.reason)

    return disconnect


_LIST = Operation(
    name="listIntegrations",
    permission="integrations:read",
    summary="List the project's integrations, oldest first",
    tag="Integrations",
    answers={200: Listed[Integration]},
    query=(*PAGE_PARAMETERS, AS_OF),
    refusals=(ProjectUnknown,),
)


@get("/projects/{project_id:uuid}/integrations", opt=_LIST.as_opt())
async def list_integrations(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    services, tenant_id = await reached_as_of(request), tenant_of(request)
    wanted = await asked(request, services, (AS_OF,))
    found = await services.reader.page(INTEGRATIONS_LIST, tenant_id, project_id, after=wanted.after, limit=wanted.limit)
    if not found.items:
        await require_project(services, tenant_id, project_id)
    return await page(services, INTEGRATIONS_LIST, found)


INTEGRATION_ROUTES = (
    connect_local,
    verify_local,
    check_local_bucket,
    configure_local_bucket,
    list_integrations,
    *(_getter(provider) for provider in PROVIDERS),
    *(_disconnector(provider) for provider in PROVIDERS),
)
