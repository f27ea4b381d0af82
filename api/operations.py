"""What operators do: runtimes and their dates, plans, and how much each tenant has."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, get, patch, post, put
from litestar.params import FromPath
from msgspec import UNSET, UnsetType

from api.answer import Answer, entity
from api.as_of import AS_OF, reached_as_of
from api.body import read
from api.catalogues import RuntimeEntry, runtime_entry
from api.instant import in_utc
from api.listing import PAGE_PARAMETERS, Listed, asked, listed, page, row_bytes
from api.operation import Operation
from api.reading import found_or, reached
from api.refusals import OnlyOfNow
from api.services import services_of
from api.tenant_reply import tenant_reply
from api.writing import Reply, Writing
from commands.command import States
from commands.plan import DefinePlan
from commands.runtime import AddRuntime, DateChanges, RuntimeCommand, SetDefaultRuntime, SetRuntimeDates
from commands.tenant import ChoosePlan
from domain.event import SYSTEM_TENANT
from domain.naming import NameNotAllowed
from domain.plan import MEBIBYTE, Limits, PlanUnknown, plan_stream
from domain.runtime import (
    RUNTIMES,
    RUNTIMES_STREAM,
    Dates,
    DatesOutOfOrder,
    Instant,
    RuntimeExists,
    RuntimeNotFound,
    RuntimeNotSelectable,
    RuntimeUnknown,
    RuntimeVersionInvalid,
)
from domain.tenant import TENANT, TenantIsClosed, TenantUnknown
from projections.plans import PLAN as PLAN_GET
from projections.plans import PLANS_LIST, Plan
from projections.tenants import TENANT as TENANT_GET
from projections.tenants import Tenant
from projections.usage import USAGE_LIST, Usage

Version = Annotated[str, msgspec.Meta(min_length=1, max_length=64, examples=["3.12.0"])]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
Entitlement = Annotated[str, msgspec.Meta(min_length=1, max_length=64, examples=["gke"])]


class RuntimeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """A Dart SDK version and when each of its phases begins; a date left out is not announced."""

    version: Version
    released_at: Instant
    deprecation_announced_at: Instant | None = None
    block_new_deploys_after: Instant | None = None
    disable_execution_after: Instant | None = None


class DatesRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """What is left out stays as it is; null takes a date back."""

    released_at: Instant | UnsetType = UNSET
    deprecation_announced_at: Instant | UnsetType | None = UNSET
    block_new_deploys_after: Instant | UnsetType | None = UNSET
    disable_execution_after: Instant | UnsetType | None = UNSET


class DefaultRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """The runtime that new drafts are offered first."""

    version: Version


class LimitsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """What a tenant on the plan may have at most."""

    projects: Count
    functions_per_project: Count
    members: Count
    concurrent_deployments: Count
    queued_deployments: Count
    upload_bytes: Count = 2 * MEBIBYTE
    requests_per_minute: Count = 600
    log_retention_days: Count = 7
    releases_kept: Count = 5
    artifact_retention_days: Count = 30
    webhooks_per_project: Count = 20
    concurrent_deployments_per_account: Annotated[
        Count | None,
        msgspec.Meta(
            description="In one account and region of a cloud; null: as many as the tenant may have at a time."
        ),
    ] = None


class PlanRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """The whole plan; tenants that have it are held to it from then on."""

    limits: LimitsRequest
    entitlements: Annotated[tuple[Entitlement, ...], msgspec.Meta(max_length=100)] = ()


class PlanChoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """The name of a plan that is defined."""

    plan: Annotated[str, msgspec.Meta(min_length=1, max_length=63, examples=["standard"])]


_ADD = Operation(
    name="addRuntime",
    permission="operate",
    summary="Add a runtime",
    tag="Operations",
    takes=RuntimeRequest,
    answers={201: RuntimeEntry},
    example={"version": "3.12.0", "releasedAt": "2026-05-13T00:00:00Z"},
    writes=True,
    refusals=(
        RuntimeVersionInvalid,
        RuntimeExists,
        DatesOutOfOrder,
    ),
)


@post("/operations/runtimes", status_code=201, opt=_ADD.as_opt())
async def add_runtime(request: Request[Any, Any, Any]) -> Answer:
    asked_for, content = await read(request, RuntimeRequest)
    writing = Writing(request, content)
    dates = Dates(**_given(asked_for))
    command = AddRuntime(**writing.asked, version=asked_for.version, dates=dates)
    return await writing.do(command, lambda states: _runtime(command, command.version, states, status=201))


_DATES = Operation(
    name="setRuntimeDates",
    permission="operate",
    summary="Move the dates of a runtime",
    tag="Operations",
    takes=DatesRequest,
    answers={200: RuntimeEntry},
    example={"deprecationAnnouncedAt": "2026-11-12T00:00:00Z", "blockNewDeploysAfter": "2027-02-11T00:00:00Z"},
    writes=True,
    refusals=(
        RuntimeNotFound,
        DatesOutOfOrder,
    ),
)


@patch("/operations/runtimes/{version:str}", opt=_DATES.as_opt())
async def set_runtime_dates(request: Request[Any, Any, Any], version: FromPath[str]) -> Answer:
    asked_for, content = await read(request, DatesRequest)
    writing = Writing(request, content)
    command = SetRuntimeDates(**writing.asked, version=version, date_changes=DateChanges(**_given(asked_for)))
    return await writing.do(command, lambda states: _runtime(command, version, states))


_DEFAULT = Operation(
    name="setDefaultRuntime",
    permission="operate",
    summary="Choose the runtime that new drafts are offered first",
    tag="Operations",
    takes=DefaultRequest,
    answers={200: RuntimeEntry},
    example={"version": "3.11.0"},
    writes=True,
    refusals=(
        RuntimeUnknown,
        RuntimeNotSelectable,
    ),
)


@put("/operations/default-runtime", opt=_DEFAULT.as_opt())
async def set_default_runtime(request: Request[Any, Any, Any]) -> Answer:
    asked_for, content = await read(request, DefaultRequest)
    writing = Writing(request, content)
    command = SetDefaultRuntime(**writing.asked, version=asked_for.version)
    return await writing.do(command, lambda states: _runtime(command, command.version, states))


_PLANS = Operation(
    name="listPlans",
    permission="operate",
    summary="List the plans",
    tag="Operations",
    answers={200: Listed[Plan]},
    query=(AS_OF,),
)


@get("/operations/plans", opt=_PLANS.as_opt())
async def list_plans(request: Request[Any, Any, Any]) -> Answer:
    services = await reached_as_of(request)
    found = await services.reader.rows(PLANS_LIST, SYSTEM_TENANT)
    return listed([row_bytes(PLANS_LIST, item) for item in found], None)


_PLAN = Operation(
    name="getPlan",
    permission="operate",
    summary="Get a plan",
    tag="Operations",
    answers={200: Plan},
    query=(AS_OF,),
    refusals=(PlanUnknown,),
)


@get("/operations/plans/{name:str}", opt=_PLAN.as_opt())
async def get_plan(request: Request[Any, Any, Any], name: FromPath[str]) -> Answer:
    services = await reached_as_of(request)
    found = found_or(PlanUnknown, await services.reader.one(PLAN_GET, SYSTEM_TENANT, plan_stream(name).id))
    return entity(request, row_bytes(PLAN_GET, found), found.position)


_DEFINE = Operation(
    name="definePlan",
    permission="operate",
    summary="Define a plan, or define it anew",
    tag="Operations",
    takes=PlanRequest,
    answers={200: Plan},
    example={
        "limits": {
            "projects": 3,
            "functionsPerProject": 10,
            "members": 3,
            "concurrentDeployments": 1,
            "queuedDeployments": 10,
        },
        "entitlements": [],
    },
    writes=True,
    if_match=True,
    refusals=(NameNotAllowed,),
)


@put("/operations/plans/{name:str}", opt=_DEFINE.as_opt())
async def define_plan(request: Request[Any, Any, Any], name: FromPath[str]) -> Answer:
    asked_for, content = await read(request, PlanRequest)
    writing = Writing(request, content)
    limits = Limits(**msgspec.structs.asdict(asked_for.limits))
    command = DefinePlan(**writing.asked, name=name, limits=limits, entitlements=asked_for.entitlements)
    body = Plan(name=name, limits=limits, entitlements=asked_for.entitlements)

    def answer(states: States) -> Reply:
        return Reply(body=body, position="last" if states.moved(plan_stream(name)) else "unchanged")

    return await writing.do(command, answer, entity=plan_stream(name))


_CHOOSE = Operation(
    name="chooseTenantPlan",
    permission="operate",
    summary="Put a tenant on a plan",
    tag="Operations",
    takes=PlanChoice,
    answers={200: Tenant},
    example={"plan": "standard"},
    writes=True,
    if_match=True,
    refusals=(
        TenantUnknown,
        TenantIsClosed,
        PlanUnknown,
    ),
)


@put("/operations/tenants/{tenant_id:uuid}/plan", opt=_CHOOSE.as_opt())
async def choose_tenant_plan(request: Request[Any, Any, Any], tenant_id: FromPath[UUID]) -> Answer:
    """What the tenant has already stays, also what is more than the plan allows; there will be no more of it."""
    asked_for, content = await read(request, PlanChoice)
    writing = Writing(request, content)
    services = services_of(request)
    known = found_or(TenantUnknown, await services.reader.one(TENANT_GET, tenant_id)).row
    command = ChoosePlan(tenant_id=tenant_id, at=writing.asked["at"], plan=asked_for.plan)
    stream = TENANT.stream(tenant_id, tenant_id)

    answered = await writing.do(command, lambda states: tenant_reply(known, stream, states), entity=stream)
    services.rate_limits.look_again(tenant_id)
    return answered


_USAGE = Operation(
    name="listUsage",
    permission="operate",
    summary="How much each tenant has, oldest tenant first",
    tag="Operations",
    answers={200: Listed[Usage]},
    query=PAGE_PARAMETERS,
    refusals=(OnlyOfNow,),
)


@get("/operations/usage", opt=_USAGE.as_opt())
async def list_usage(request: Request[Any, Any, Any]) -> Answer:
    """As it is now: every event of a tenant changes its one row, and no version of it is kept."""
    if "asOf" in request.query_params:
        raise OnlyOfNow
    services = await reached(request)
    wanted = await asked(request, services)
    found = await services.reader.page(USAGE_LIST, None, after=wanted.after, limit=wanted.limit)
    return await page(services, USAGE_LIST, found)


def _given(asked_for: RuntimeRequest | DatesRequest) -> dict[str, Any]:
    """The dates a request names, in UTC."""
    named = zip(Dates.__struct_fields__, Dates.__struct_encode_fields__, strict=True)
    given = {name: (getattr(asked_for, name), field) for name, field in named}
    return {
        name: in_utc(value, field) if isinstance(value, datetime) else value
        for name, (value, field) in given.items()
        if value is not UNSET
    }


def _runtime(command: RuntimeCommand, version: str, states: States, *, status: int = 200) -> Reply:
    dates = states.at(RUNTIMES, RUNTIMES_STREAM).dates[version]
    # Its ETag is none of its own: all runtimes share a stream.
    return Reply(status=status, body=runtime_entry(version, dates, command.at), position="unchanged")


OPERATION_ROUTES = (
    add_runtime,
    set_runtime_dates,
    set_default_runtime,
    list_plans,
    get_plan,
    define_plan,
    choose_tenant_plan,
    list_usage,
)
