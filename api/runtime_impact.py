"""What moving a runtime's dates would touch: for operators, before they do."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, get
from litestar.params import FromPath

from api.answer import Answer, encoded
from api.listing import PAGE_PARAMETERS, Listed, asked, listed
from api.operation import Operation
from api.reading import reached
from api.services import Services
from domain.clouds import ProviderName
from domain.event import SYSTEM_TENANT
from domain.function import FunctionStatus
from domain.runtime import RuntimeNotFound
from projections.deployment_lists import DEPLOYMENTS_ON_RUNTIME
from projections.functions import FUNCTIONS_ON_RUNTIME
from projections.query import Page
from projections.runtimes import RUNTIMES_LIST


class FunctionOnRuntime(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A function whose record names the runtime: deployed as it is saved it would meet the runtime's dates."""

    tenant_id: UUID
    project_id: UUID
    function_id: UUID
    name: str
    status: FunctionStatus
    active_deployment_id: UUID | None


class DeploymentOnRuntime(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An active deployment that was released on the runtime: it serves until execution ends."""

    tenant_id: UUID
    project_id: UUID
    function_id: UUID
    deployment_id: UUID
    provider: ProviderName
    url: str | None
    queued_at: datetime


_FUNCTIONS = Operation(
    name="listFunctionsOnRuntime",
    permission="operate",
    summary="List the functions of all tenants whose record names a runtime, oldest first",
    tag="Operations",
    answers={200: Listed[FunctionOnRuntime]},
    query=PAGE_PARAMETERS,
    refusals=(RuntimeNotFound,),
)


@get("/operations/runtimes/{version:str}/functions", opt=_FUNCTIONS.as_opt())
async def list_functions_on_runtime(request: Request[Any, Any, Any], version: FromPath[str]) -> Answer:
    services = await reached(request)
    wanted = await asked(request, services)
    await _require_runtime(services, version)
    found = await services.reader.page(FUNCTIONS_ON_RUNTIME, None, version, after=wanted.after, limit=wanted.limit)
    rows = [
        FunctionOnRuntime(
            tenant_id=item.tenant_id,
            project_id=item.row.project_id,
            function_id=item.row.function_id,
            name=item.row.name,
            status=item.row.status,
            active_deployment_id=item.row.active_deployment_id,
        )
        for item in found.items
    ]
    return await _page(services, rows, found)


_DEPLOYMENTS = Operation(
    name="listDeploymentsOnRuntime",
    permission="operate",
    summary="List the active deployments of all tenants that were released on a runtime, oldest first",
    tag="Operations",
    answers={200: Listed[DeploymentOnRuntime]},
    query=PAGE_PARAMETERS,
    refusals=(RuntimeNotFound,),
)


@get("/operations/runtimes/{version:str}/deployments", opt=_DEPLOYMENTS.as_opt())
async def list_deployments_on_runtime(request: Request[Any, Any, Any], version: FromPath[str]) -> Answer:
    services = await reached(request)
    wanted = await asked(request, services)
    await _require_runtime(services, version)
    found = await services.reader.page(DEPLOYMENTS_ON_RUNTIME, None, version, after=wanted.after, limit=wanted.limit)
    rows = [
        DeploymentOnRuntime(
            tenant_id=item.tenant_id,
            project_id=item.row.project_id,
            function_id=item.row.function_id,
            deployment_id=item.row.deployment_id,
            provider=item.row.provider,
            url=item.row.url,
            queued_at=item.row.queued_at,
        )
        for item in found.items
    ]
    return await _page(services, rows, found)


async def _require_runtime(services: Services, version: str) -> None:
    known = await services.reader.rows(RUNTIMES_LIST, SYSTEM_TENANT)
    if all(item.row.version != version or item.row.dates is None for item in known):
        raise RuntimeNotFound


async def _page(services: Services, rows: list[Any], found: Page[Any]) -> Answer:
    cursor = None if found.next_after is None else await services.tokens.of(found.next_after)
    return listed([encoded(row) for row in rows], cursor)


RUNTIME_IMPACT_ROUTES = (list_functions_on_runtime, list_deployments_on_runtime)
