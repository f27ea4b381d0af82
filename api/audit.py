"""The audit trail of the caller's tenant, free for everyone who may read it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Request, get

from api.answer import Answer, encoded
from api.listing import PAGE_PARAMETERS, Listed, asked, listed
from api.operation import Operation, Parameter
from api.reading import reached, tenant_of
from api.services import Services
from projections.audit_trail import AUDIT_EVENTS, AuditEvent
from projections.query import Found


class Entry(AuditEvent, frozen=True, kw_only=True, rename="camel"):
    """One event of the log. `position` is its place there, and a cursor."""

    position: str


_FILTERS = (
    Parameter(name="entityId", type=UUID, description="Only events of this entity."),
    Parameter(name="correlationId", type=UUID, description="Only what this request set in motion."),
    Parameter(name="type", type=str, description="Only events of this type, such as deployment.queued."),
    Parameter(name="actorId", type=str, description="Only what this key, person or runner did."),
)
_EVENTS = Operation(
    name="listAuditEvents",
    permission="audit:read",
    summary="Everything recorded in the tenant, refused commands included, oldest first",
    tag="Audit",
    answers={200: Listed[Entry]},
    query=(*PAGE_PARAMETERS, *_FILTERS),
)


@get("/audit/events", opt=_EVENTS.as_opt())
async def list_audit_events(request: Request[Any, Any, Any]) -> Answer:
    services = await reached(request)
    wanted = await asked(request, services, _FILTERS)
    values = [wanted.filters.get(name) for name in ("entityId", "correlationId", "type", "actorId")]
    found = await services.reader.page(
        AUDIT_EVENTS, tenant_of(request), *values, after=wanted.after, limit=wanted.limit
    )
    cursor = None if found.next_after is None else await services.tokens.of(found.next_after)
    return listed([await _entry(services, item) for item in found.items], cursor)


async def _entry(services: Services, found: Found[AuditEvent]) -> bytes:
    """The event with its position in front: a column of the row, and not part of it."""
    return b'{"position":' + encoded(await services.tokens.of(found.position)) + b"," + found.raw[1:]


AUDIT_ROUTES = (list_audit_events,)
