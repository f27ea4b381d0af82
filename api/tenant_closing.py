"""Closing a tenant: what is live goes first or is named, then nobody gets in, and what was recorded stays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import msgspec
import structlog
from litestar import Request, post
from litestar.params import FromPath

from api.answer import Answer
from api.body import read
from api.operation import Operation
from api.operator_tenants import Reason
from api.reading import found_or
from api.services import Services, services_of
from api.writing import Reply, Writing, recorded_time
from commands.basis import fold
from commands.command import States
from commands.execute import Context, execute
from commands.function import ArchiveFunction
from commands.tenant import CloseTenant
from domain.function import FUNCTION
from domain.function import Function as State
from domain.refusal import Conflict, Refusal
from domain.tenant import TENANT, TenantUnknown
from projections.functions import FUNCTIONS_LIST, Function
from projections.projects import PROJECTS_LIST
from projections.query import Found, Query
from projections.reader import PAGE_ROWS_MAX
from projections.tenants import TENANT as TENANT_GET
from projections.tenants import Tenant

NAMED_MAX = 5


class TenantIsLive(Conflict):
    """Functions of the tenant are serving, or being deployed."""

    code = "tenant_is_live"
    remedy = "Undeploy them, or send undeployFirst; wait for deployments that are under way, or cancel them."


class ClosingRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """With `undeployFirst` all that serves is undeployed; else a tenant with anything live is refused."""

    undeploy_first: bool = False
    reason: Reason = ""


_CLOSE = Operation(
    name="closeTenant",
    permission="operate",
    summary="Close a tenant for good: its keys and members get in no more, what was recorded stays for the audit",
    tag="Operations",
    takes=ClosingRequest,
    answers={200: Tenant},
    example={"undeployFirst": True, "reason": "The contract has ended."},
    writes=True,
    if_match=True,
    refusals=(TenantUnknown, TenantIsLive),
)


@post("/operations/tenants/{tenant_id:uuid}/close", status_code=200, opt=_CLOSE.as_opt())
async def close_tenant(request: Request[Any, Any, Any], tenant_id: FromPath[UUID]) -> Answer:
    """What is queued in the same moment is canceled by the runner that comes to it."""
    asked_for, content = await read(request, ClosingRequest)
    writing, services = Writing(request, content), services_of(request)
    known = found_or(TenantUnknown, await services.reader.one(TENANT_GET, tenant_id)).row
    writing.is_about(tenant_id)
    functions = [found.row async for found in _functions(services, tenant_id)]
    await _require_still(services, tenant_id, functions, asked_for)
    command = CloseTenant(tenant_id=tenant_id, at=writing.asked["at"], reason=asked_for.reason)

    def answer(_: States) -> Reply:
        if known.closed_at is not None:
            return Reply(body=known, position="unchanged")
        now = recorded_time(None)
        return Reply(body=msgspec.structs.replace(known, closed_at=now, updated_at=now))

    closed = await writing.do(command, answer, entity=TENANT.stream(tenant_id, tenant_id))
    if closed.status == 200 and asked_for.undeploy_first:
        for function in functions:
            await _put_away(writing, services, tenant_id, function, asked_for.reason)
    return closed


async def _require_still(
    services: Services, tenant_id: UUID, functions: list[Function], asked_for: ClosingRequest
) -> None:
    """Raise TenantIsLive while anything is being deployed, or serves and is not to be undeployed."""
    live = []
    for function in functions:
        state: State = await fold(services.log, FUNCTION, FUNCTION.stream(tenant_id, function.function_id))
        if state.pending or (state.active and not asked_for.undeploy_first):
            live.append(function.name)
    if live:
        more = f" and {len(live) - NAMED_MAX} more" if len(live) > NAMED_MAX else ""
        raise TenantIsLive(f"These are serving or being deployed: {', '.join(live[:NAMED_MAX])}{more}.")


async def _put_away(writing: Writing, services: Services, tenant_id: UUID, function: Function, reason: str) -> None:
    command = ArchiveFunction(
        tenant_id=tenant_id,
        at=services.clock(),
        project_id=function.project_id,
        function_id=function.function_id,
        reason=reason or "the tenant was closed",
        undeploy_first=True,
    )
    context = Context(
        actor=writing.principal.actor,
        command_id=writing.own_id(f"archive/{function.function_id}"),
        correlation_id=writing.correlation_id,
        record_refusals=False,
    )
    try:
        await execute(services.log, command, context)
    except Refusal as refusal:
        structlog.get_logger().warning(
            "function_not_put_away", function_id=str(function.function_id), tenant_id=str(tenant_id), code=refusal.code
        )


async def _functions(services: Services, tenant_id: UUID) -> AsyncIterator[Found[Function]]:
    """All of the tenant that are not archived, as of now."""
    head = await services.log.head()
    await services.reader.wait_for(head, (FUNCTIONS_LIST, PROJECTS_LIST), seconds_max=services.wait_seconds_max)
    async for project in _all(services, PROJECTS_LIST, tenant_id):
        async for found in _all(services, FUNCTIONS_LIST, tenant_id, project.id):
            if found.row.status != "archived":
                yield found


async def _all(services: Services, query: Query[Any], tenant_id: UUID, *args: Any) -> AsyncIterator[Found[Any]]:
    after: int | None = None
    while True:
        page = await services.reader.page(query, tenant_id, *args, after=after, limit=PAGE_ROWS_MAX)
        for found in page.items:
            yield found
        after = page.next_after
        if after is None:
            return


TENANT_CLOSING_ROUTES = (close_tenant,)
