"""The log of the caller's tenant, free for everyone who may read it: by page, or followed as it grows."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, get

from api.answer import Answer, encoded
from api.as_of import MomentText, moment_of
from api.audited import audited_projects, audited_tenant
from api.event_stream import EventStream, streams_of, wants_stream
from api.exchange import exchange_of
from api.listing import PAGE_PARAMETERS, Asked, Listed, asked, listed
from api.operation import Operation, Parameter
from api.permit import Permit
from api.reading import reached
from api.refusals import ParameterInvalid
from api.services import Services
from audit.following import Followed, following
from domain.refusal import FieldError
from projections.audit_trail import (
    AUDIT_EVENTS,
    AUDIT_EVENTS_NEWEST,
    AUDIT_EVENTS_OF_ALL,
    AUDIT_EVENTS_OF_ALL_NEWEST,
    AuditEvent,
    EventFilter,
)
from projections.query import Found


class LogEntry(AuditEvent, frozen=True, kw_only=True, rename="camel"):
    """One event of the log. `position` is its place there, and a cursor."""

    position: str
    tenant_id: UUID


Order = Literal["oldestFirst", "newestFirst"]
_ORDER = Parameter(name="order", type=Order, description="oldestFirst when left out; a stream knows no other.")
_FILTERS = (
    _ORDER,
    Parameter(name="projectId", type=UUID, description="Only events of this project and of what is in it."),
    Parameter(name="entityId", type=UUID, description="Only events of this entity."),
    Parameter(name="correlationId", type=UUID, description="Only what this request set in motion."),
    Parameter(name="type", type=str, description="Only events of this type.", example="deployment.queued"),
    Parameter(name="actorId", type=str, description="Only what this key, person or runner did.", example="runner-1"),
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
    Parameter(name="tenantId", type=UUID, description="For operators, who see all tenants: only events of this one."),
)
_EVENTS = Operation(
    name="listAuditEvents",
    permission="audit:read",
    summary="Everything recorded in the tenant, refused commands included; followed with Accept: text/event-stream",
    tag="Audit",
    answers={200: Listed[LogEntry]},
    query=(*PAGE_PARAMETERS, *_FILTERS),
    streams=True,
    within_projects=True,
)


@get("/audit/events", opt=_EVENTS.as_opt())
async def list_audit_events(request: Request[Any, Any, Any]) -> Answer:
    services = await reached(request)
    given = await asked(request, services, _FILTERS)
    wanted = await _filter(services, given, audited_projects(request))
    if wants_stream(request):
        return await _stream(request, services, given, wanted)
    query, values = _question(request, given, wanted)
    found = await services.reader.page(query, _asked_for(request), *values, after=given.after, limit=given.limit)
    cursor = None if found.next_after is None else await services.tokens.of(found.next_after)
    return listed([await log_entry(services, item) for item in found.items], cursor)


async def log_entry(services: Services, found: Found[AuditEvent]) -> bytes:
    """The event with its place in front: columns of the row, and not part of it."""
    position = encoded(await services.tokens.of(found.position))
    return b'{"position":' + position + b',"tenantId":' + encoded(found.tenant_id) + b"," + found.raw[1:]


def _asked_for(request: Request[Any, Any, Any]) -> UUID | None:
    """The tenant whose log is asked for; None: an operator asks for all."""
    principal = exchange_of(request.scope).principal
    assert principal is not None, "a route with a permission has a caller"
    return None if principal.is_operator else principal.tenant_id


def _question(request: Request[Any, Any, Any], given: Asked, wanted: EventFilter) -> tuple[Any, tuple[Any, ...]]:
    """The query for this caller, and its arguments."""
    tenant_id, values = given.filters.get("tenantId"), msgspec.structs.astuple(wanted)
    newest = given.filters.get(_ORDER.name) == "newestFirst"
    if _asked_for(request) is None:
        return AUDIT_EVENTS_OF_ALL_NEWEST if newest else AUDIT_EVENTS_OF_ALL, (tenant_id, *values)
    audited_tenant(request, tenant_id)
    return AUDIT_EVENTS_NEWEST if newest else AUDIT_EVENTS, values


async def _filter(services: Services, given: Asked, projects: tuple[UUID, ...] | None) -> EventFilter:
    filters = given.filters
    above, up_to = filters.get("from"), filters.get("to")
    return EventFilter(
        entity_id=filters.get("entityId"),
        correlation_id=filters.get("correlationId"),
        type=filters.get("type"),
        actor_id=filters.get("actorId"),
        project_id=filters.get("projectId"),
        above=None if above is None else (await moment_of(services, above, "from")).position,
        up_to=None if up_to is None else (await moment_of(services, up_to, "to")).position,
        projects=projects,
    )


async def _stream(
    request: Request[Any, Any, Any], services: Services, given: Asked, wanted: EventFilter
) -> EventStream:
    """What is recorded from now on, or from where the caller left off."""
    if given.filters.get(_ORDER.name) == "newestFirst":
        why = "a stream goes on with what is new, oldest first"
        raise ParameterInvalid(
            f"The parameter 'order' cannot be used: {why}.", errors=(FieldError(field="order", message=why),)
        )
    query, values = _question(request, given, wanted)
    last_seen = exchange_of(request.scope).header(b"last-event-id")
    start = wanted.above if given.after is None else given.after
    if last_seen is not None:
        start = await services.tokens.read(last_seen, "Last-Event-ID")
    if start is None:
        start = await services.log.head()
    found = following(
        services.log, services.reader, query, _asked_for(request), values, after=start, up_to=wanted.up_to
    )

    async def message(followed: Followed[AuditEvent]) -> bytes:
        token = await services.tokens.of(followed.position)
        if followed.event is None:
            return f": nothing new\nid: {token}\n\n".encode()
        head = f"id: {token}\nevent: {followed.event.row.type}\ndata: ".encode()
        return head + await log_entry(services, followed.event) + b"\n\n"

    return streams_of(request).open(found, message, permit=Permit(request))


AUDIT_ROUTES = (list_audit_events,)
