"""What a deployment's build said: by the piece, or followed while it builds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, get
from litestar.params import FromPath

from api.answer import Answer, encoded
from api.event_stream import streams_of, wants_stream
from api.exchange import exchange_of
from api.listing import arguments
from api.operation import Operation, Parameter
from api.patterns import whole
from api.permit import Permit
from api.reading import found_or, reached, tenant_of
from api.refusals import ParameterInvalid
from api.services import Services
from domain.deployment import DeploymentStatus, DeploymentUnknown
from domain.refusal import FieldError
from projections.deployment_lists import DEPLOYMENT

# How soon a follower hears of what was said, and how long it is told nothing.
LOOK_SECONDS = 0.5
SILENCE_SECONDS_MAX = 15.0
FOLLOW_SECONDS_MAX = 900.0
_CURSOR_DIGITS_MAX = 18

_BUILDING: tuple[DeploymentStatus, ...] = ("queued", "running")


class BuildLog(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A piece of the log. `nextCursor` asks for what comes after it; `droppedBytes` were left out of its middle."""

    text: str
    next_cursor: str
    dropped_bytes: int


_CURSOR = Parameter(
    name="cursor",
    type=Annotated[str, msgspec.Meta(pattern=whole(rf"^[0-9]{{1,{_CURSOR_DIGITS_MAX}}}$"))],
    description="The nextCursor of the piece before.",
    example="2048",
)
_LOG = Operation(
    name="getBuildLog",
    permission="deployments:read",
    summary="What the build said, from the cursor on; followed with Accept: text/event-stream",
    tag="Deployments",
    answers={200: BuildLog},
    query=(_CURSOR,),
    refusals=(DeploymentUnknown,),
    streams=True,
)


@get("/projects/{project_id:uuid}/deployments/{deployment_id:uuid}/logs", opt=_LOG.as_opt())
async def get_build_log(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], deployment_id: FromPath[UUID]
) -> Answer:
    """A stream ends by itself when the build is over and all of it was told."""
    services, tenant_id = await reached(request), tenant_of(request)
    found_or(DeploymentUnknown, await services.reader.one(DEPLOYMENT, tenant_id, project_id, deployment_id))
    after = int(arguments(request, (_CURSOR,)).get("cursor", "0"))
    if wants_stream(request):
        pieces = _following(services, tenant_id, project_id, deployment_id, _last_seen(request, after))
        return streams_of(request).open(pieces, _message, permit=Permit(request))
    return Answer(encoded(await _piece(services, tenant_id, deployment_id, after)))


async def _piece(services: Services, tenant_id: UUID, deployment_id: UUID, after: int) -> BuildLog:
    found = await services.build_logs.read(tenant_id, deployment_id, after=after)
    return BuildLog(text=found.text, next_cursor=str(found.next_cursor), dropped_bytes=found.dropped_bytes)


async def _following(
    services: Services, tenant_id: UUID, project_id: UUID, deployment_id: UUID, after: int
) -> AsyncIterator[BuildLog]:
    """Each piece once; an empty one now and then, so that the connection is not taken for dead."""
    end = time.monotonic() + FOLLOW_SECONDS_MAX
    silent_since = time.monotonic()
    while time.monotonic() < end:
        # In this order: what was said before the build was over is read after that is known.
        deployment = await services.reader.one(DEPLOYMENT, tenant_id, project_id, deployment_id)
        piece = await _piece(services, tenant_id, deployment_id, after)
        after = int(piece.next_cursor)
        if piece.text or time.monotonic() - silent_since > SILENCE_SECONDS_MAX:
            silent_since = time.monotonic()
            yield piece
        if deployment is None or deployment.row.status not in _BUILDING:
            return
        await asyncio.sleep(LOOK_SECONDS)


async def _message(piece: BuildLog) -> bytes:
    head = f"id: {piece.next_cursor}\n"
    if not piece.text:
        return f": nothing new\n{head}\n".encode()
    return f"{head}event: log\ndata: ".encode() + encoded(piece) + b"\n\n"


def _last_seen(request: Request[Any, Any, Any], after: int) -> int:
    given = exchange_of(request.scope).header(b"last-event-id")
    if not given:
        return after
    if not (given.isascii() and given.isdigit() and len(given) <= _CURSOR_DIGITS_MAX):
        raise ParameterInvalid(
            "The Last-Event-ID is none of this log's.",
            errors=(FieldError(field="Last-Event-ID", message="a nextCursor of this log"),),
        )
    return int(given)


BUILD_LOG_ROUTES = (get_build_log,)
