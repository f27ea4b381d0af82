"""One tenant's whole log as a download, made while it is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from litestar import Request, get

from api.answer import Answer, unchanged
from api.as_of import MomentText, moment_of
from api.audited import AUDITED_TENANT, audited_tenant
from api.event_stream import StreamsFull, streams_of
from api.listing import arguments
from api.operation import Operation, Parameter
from api.permit import Permit
from api.reading import reached
from api.services import Services
from api.uploads import FileBytes
from audit.export_format import Plan
from audit.export_tar import tar_of
from audit.exporting import event_parts
from domain.event import SYSTEM_TENANT
from domain.tenant import TenantUnknown
from eventstore.archive.log_events import Piece
from eventstore.event_lines import instant_text
from migrations.upgrade import newest
from process.release import release
from projections.tenants import TENANT

# Not application/x-tar: clients that are generated leave out what they have no reader for.
MEDIA_TYPE = "application/octet-stream"

_SPAN = (
    Parameter(
        name="from",
        type=MomentText,
        description="Only what was recorded after this time (RFC 3339) or position.",
        example="1:4711",
    ),
    Parameter(
        name="to",
        type=MomentText,
        description="Only what was recorded until this time (RFC 3339) or position.",
        example="2026-03-01T12:00:00Z",
    ),
)
_EXPORT = Operation(
    name="exportLog",
    permission="audit:export",
    summary="Everything recorded in the tenant as a tar of compressed JSON lines, its manifest last",
    tag="Audit",
    answers={200: FileBytes},
    gives=MEDIA_TYPE,
    shows=("Content-Disposition",),
    query=(*_SPAN, AUDITED_TENANT),
    refusals=(TenantUnknown, StreamsFull),
)


@get("/audit/export", opt=_EXPORT.as_opt())
async def export_log(request: Request[Any, Any, Any]) -> Answer:
    services = await reached(request)
    given = arguments(request, _EXPORT.query)
    tenant_id = audited_tenant(request, given.get(AUDITED_TENANT.name))
    begun = await _begun_before(services, tenant_id)
    start = (await moment_of(services, given["from"], "from")).position if "from" in given else 0
    end = (await moment_of(services, given["to"], "to")).position if "to" in given else await services.log.head()
    plan = Plan(
        release=release(),
        revision=newest(),
        tenant_id=tenant_id,
        epoch=await services.log.epoch(),
        after=min(start, end),
        up_to=end,
    )
    tag = f'"{tenant_id.hex}-{plan.epoch}-{plan.after}-{end}"'.encode()
    # Weak: the same events each time, and beside them when they were asked for.
    caching = ((b"etag", b"W/" + tag), (b"cache-control", b"private, no-cache"))
    if (known := unchanged(request, tag, caching)) is not None:
        return known
    pieces = _pieces(services, tenant_id, max(begun, plan.after), end)
    # What keeps it from being read is told before anything is sent.
    first = await anext(pieces, None)
    made = event_parts(_all(first, pieces), lambda _: None)
    headers = (
        (b"content-type", MEDIA_TYPE.encode()),
        *caching,
        (b"content-disposition", f'attachment; filename="dcf-{tenant_id}-{plan.epoch}-{end}.tar"'.encode()),
    )
    return streams_of(request).download(
        tar_of(plan, made, made_at=instant_text(services.clock())), headers, permit=Permit(request)
    )


async def _begun_before(services: Services, tenant_id: UUID) -> int:
    """A position before which the tenant has no events. Raises TenantUnknown."""
    if tenant_id == SYSTEM_TENANT:
        return 0
    found = await services.reader.one(TENANT, tenant_id)
    if found is None:
        raise TenantUnknown
    return found.first_position - 1


async def _pieces(services: Services, tenant_id: UUID, after: int, up_to: int) -> AsyncIterator[Piece]:
    while after < up_to:
        piece = await services.tenant_events.after(tenant_id, after, up_to=up_to)
        yield Piece(piece.events, piece.position)
        after = piece.position


async def _all(first: Piece | None, others: AsyncIterator[Piece]) -> AsyncIterator[Piece]:
    if first is not None:
        yield first
    async for piece in others:
        yield piece


EXPORT_ROUTES = (export_log,)
