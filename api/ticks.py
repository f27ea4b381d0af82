"""What came of a function's schedule: one tick after the other, the newest first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, get
from litestar.params import FromPath

from api.answer import Answer, encoded
from api.listing import PAGE_PARAMETERS, PAGE_ROWS, Listed, arguments, listed
from api.operation import Operation, Parameter
from api.patterns import whole
from api.reading import found_or, reached, tenant_of
from domain.function import FunctionUnknown
from eventstore.ticks import END_OF_TIME, TickStatus
from eventstore.ticks import Tick as Stored
from projections.functions import FUNCTION_GET

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Tick(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One instant at which the schedule was due. `httpStatus` is what the function answered.

    `firing`: it is being called. `missed`: no runner was there in time, so it was not called. `unknown`: the runner that
    called it is gone, or may not have reached it; it is not called again.
    """

    due_at: datetime
    deployment_id: UUID
    status: TickStatus
    taken_at: datetime | None
    ended_at: datetime | None
    http_status: int | None
    message: str


_CURSOR = Parameter(
    name="cursor",
    type=Annotated[str, msgspec.Meta(pattern=whole(r"^[0-9]{1,16}$"))],
    description="The nextCursor of the page before.",
    example="1772442000000000",
)
_LIMIT = PAGE_PARAMETERS[0]
_LIST = Operation(
    name="listFunctionTicks",
    permission="functions:read",
    summary="What came of the function's schedule, newest first",
    tag="Functions",
    answers={200: Listed[Tick]},
    query=(_LIMIT, _CURSOR),
    refusals=(FunctionUnknown,),
)


@get("/projects/{project_id:uuid}/functions/{function_id:uuid}/ticks", opt=_LIST.as_opt())
async def list_function_ticks(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], function_id: FromPath[UUID]
) -> Answer:
    services, tenant_id = await reached(request), tenant_of(request)
    function = found_or(FunctionUnknown, await services.reader.one(FUNCTION_GET, tenant_id, function_id)).row
    if function.project_id != project_id:
        raise FunctionUnknown
    given = arguments(request, (_LIMIT, _CURSOR))
    limit, before = given.get("limit", PAGE_ROWS), END_OF_TIME
    if "cursor" in given:
        before = _EPOCH + int(given["cursor"]) * _MICROSECOND
    found = await services.ticks.read(tenant_id, function_id, before=before, limit=limit + 1)
    cursor = str((found[limit - 1].due_at - _EPOCH) // _MICROSECOND) if len(found) > limit else None
    return listed([encoded(_shown(tick)) for tick in found[:limit]], cursor)


def _shown(tick: Stored) -> Tick:
    return Tick(**{name: getattr(tick, name) for name in Tick.__struct_fields__})


TICK_ROUTES = (list_function_ticks,)
