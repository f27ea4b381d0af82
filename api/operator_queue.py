"""The queue as operators see it: whose deployments wait, which are under way, since when, and in whose hands."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, get

from api.answer import Answer, encoded
from api.listing import PAGE_PARAMETERS, Listed, asked, listed
from api.operation import Operation
from api.reading import reached
from api.services import Services
from domain.deployment import DeploymentStatus
from projections.query import Found
from projections.work import WORK_QUEUE, WorkItem


class QueueItem(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A deployment that waits for a runner, or is in the hands of one: `runnerId`, empty while it waits. `askedAt` is when it was
    asked for, or undeploying it."""

    tenant_id: UUID
    project_id: UUID
    function_id: UUID
    deployment_id: UUID
    provider: str
    status: DeploymentStatus
    asked_at: datetime
    runner_id: str
    cancel_requested: bool


_QUEUE = Operation(
    name="listQueue",
    permission="operate",
    summary="List the deployments of all tenants that wait or are under way, oldest first",
    tag="Operations",
    answers={200: Listed[QueueItem]},
    query=PAGE_PARAMETERS,
)


@get("/operations/queue", opt=_QUEUE.as_opt())
async def list_queue(request: Request[Any, Any, Any]) -> Answer:
    services = await reached(request)
    wanted = await asked(request, services)
    found = await services.reader.page(WORK_QUEUE, None, after=wanted.after, limit=wanted.limit)
    cursor = None if found.next_after is None else await services.tokens.of(found.next_after)
    return listed([encoded(await _shown(services, item)) for item in found.items], cursor)


async def _shown(services: Services, found: Found[WorkItem]) -> QueueItem:
    item = found.row
    asked_at = await services.instants.recorded_at(item.due_position)
    return QueueItem(
        tenant_id=found.tenant_id,
        project_id=item.project_id,
        function_id=item.function_id,
        deployment_id=item.deployment_id,
        provider=item.provider,
        status=item.status,
        asked_at=asked_at or services.clock(),
        runner_id="" if item.waits else item.runner_id,
        cancel_requested=item.cancel_requested,
    )


OPERATOR_QUEUE_ROUTES = (list_queue,)
