"""What moving a runtime's dates would touch: for operators, before they do."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, get
from litestar.params import FromPath

from api.answer import Answer, encoded
from api.instant import Instant
from api.listing import PAGE_PARAMETERS, Listed, arguments, asked, listed
from api.operation import Operation, Parameter
from api.reading import reached
from api.services import Services
from domain.clouds import ProviderName
from domain.event import SYSTEM_TENANT
from domain.function import FunctionStatus
from domain.runtime import Dates, DatesOutOfOrder, RuntimeNotFound, SupportPhase, days_until, require_in_order, standing
from projections.deployment_lists import DEPLOYMENT_TALLY, DEPLOYMENTS_ON_RUNTIME
from projections.functions import FUNCTION_TALLY, FUNCTIONS_ON_RUNTIME
from projections.query import Page, Query
from projections.runtimes import RUNTIMES_LIST
from projections.tally import Tally

# What is shown by name.
TENANTS_MAX = 1_000


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


class TenantImpact(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How much of one tenant's a runtime's dates would touch."""

    tenant_id: UUID
    functions: int
    active_deployments: int


class RuntimeImpact(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the dates would touch, of all tenants and by tenant, the most touched first. Days are whole ones left at the instant
    of the answer; null: the phase has no date. `functions` name the runtime in their record, `activeDeployments` were
    released on it. `tenantCount` says of how many tenants `tenants` are the first."""

    version: str
    deprecation_announced_at: datetime | None
    block_new_deploys_after: datetime | None
    disable_execution_after: datetime | None
    support_phase: SupportPhase
    days_until_deprecating: int | None
    days_until_blocked: int | None
    days_until_disabled: int | None
    functions: int
    active_deployments: int
    tenant_count: int
    tenants: list[TenantImpact]


_DATE_PARAMETERS = tuple(
    Parameter(
        name=name, type=Instant, description=f"As if {name} were this time (RFC 3339); what is set when not given."
    )
    for name in ("deprecationAnnouncedAt", "blockNewDeploysAfter", "disableExecutionAfter")
)
_IMPACT = Operation(
    name="getRuntimeImpact",
    permission="operate",
    summary="Count by tenant what a runtime's dates would touch, and the days left, before they are set",
    tag="Operations",
    answers={200: RuntimeImpact},
    query=_DATE_PARAMETERS,
    refusals=(RuntimeNotFound, DatesOutOfOrder),
)


@get("/operations/runtimes/{version:str}/impact", opt=_IMPACT.as_opt())
async def get_runtime_impact(request: Request[Any, Any, Any], version: FromPath[str]) -> Answer:
    services = await reached(request)
    given = arguments(request, _DATE_PARAMETERS)
    dates = _supposed(await _dates_of(services, version), given)
    functions = await _counted(services, FUNCTION_TALLY, version)
    deployments = await _counted(services, DEPLOYMENT_TALLY, version)
    touched = sorted({*functions, *deployments}, key=lambda id: (-deployments[id], -functions[id], id))
    now = services.clock()
    impact = RuntimeImpact(
        version=version,
        deprecation_announced_at=dates.deprecation_announced_at,
        block_new_deploys_after=dates.block_new_deploys_after,
        disable_execution_after=dates.disable_execution_after,
        support_phase=standing(dates, now).phase,
        days_until_deprecating=_days_left(dates.deprecation_announced_at, now),
        days_until_blocked=_days_left(dates.block_new_deploys_after, now),
        days_until_disabled=_days_left(dates.disable_execution_after, now),
        functions=functions.total(),
        active_deployments=deployments.total(),
        tenant_count=len(touched),
        tenants=[
            TenantImpact(tenant_id=id, functions=functions[id], active_deployments=deployments[id])
            for id in touched[:TENANTS_MAX]
        ],
    )
    return Answer(encoded(impact))


def _supposed(dates: Dates, given: dict[str, datetime]) -> Dates:
    """The dates with those that are asked about. Raises DatesOutOfOrder."""
    supposed = msgspec.structs.replace(
        dates,
        deprecation_announced_at=given.get("deprecationAnnouncedAt", dates.deprecation_announced_at),
        block_new_deploys_after=given.get("blockNewDeploysAfter", dates.block_new_deploys_after),
        disable_execution_after=given.get("disableExecutionAfter", dates.disable_execution_after),
    )
    require_in_order(supposed)
    return supposed


def _days_left(instant: datetime | None, now: datetime) -> int | None:
    return None if instant is None else days_until(instant, now)


async def _counted(services: Services, tally: Query[Tally], version: str) -> Counter[UUID]:
    """By tenant."""
    return Counter({item.tenant_id: item.row.count for item in await services.reader.rows(tally, None, version)})


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
    await _dates_of(services, version)
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
    await _dates_of(services, version)
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


async def _dates_of(services: Services, version: str) -> Dates:
    """The dates that are set. Raises RuntimeNotFound."""
    for item in await services.reader.rows(RUNTIMES_LIST, SYSTEM_TENANT):
        if item.row.version == version and item.row.dates is not None:
            return item.row.dates
    raise RuntimeNotFound


async def _page(services: Services, rows: list[Any], found: Page[Any]) -> Answer:
    cursor = None if found.next_after is None else await services.tokens.of(found.next_after)
    return listed([encoded(row) for row in rows], cursor)


RUNTIME_IMPACT_ROUTES = (get_runtime_impact, list_functions_on_runtime, list_deployments_on_runtime)
