"""What became of one entity: its history, and the difference between two moments."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, get
from litestar.params import FromPath

from api.answer import Answer, encoded
from api.as_of import AS_OF, MomentText, moment_of
from api.audited import AUDITED_TENANT, audited_projects, audited_tenant
from api.listing import PAGE_PARAMETERS, Listed, arguments, asked, listed
from api.operation import Operation, Parameter
from api.reading import reached
from api.services import Services
from api.tenant import members_shown
from audit.changes import Change
from audit.history import Entity, EntityUnknown, Entry, difference, entity_of, history, standing
from eventstore.meta import Actor
from projections.members import Member


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One event: who did what, by which command, because of what, and what it changed of how the entity is shown.

    `entityId` is that of the event's own entity, which may be another: a function's deployment becomes active by an
    event of the function. `causationId` is the position of the event that led to the command, or names the command.
    """

    position: str
    at: datetime
    type: str
    entity_id: UUID
    actor: Actor
    command: str
    command_id: UUID | None
    correlation_id: UUID | None
    causation_id: str
    reason: str
    changes: tuple[Change, ...]


class EntityDifference(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What differs in how the entity is shown `from` one position `to` another. `kind` is null when nothing is shown of
    it but its events."""

    entity_id: UUID
    kind: str
    existed_before: bool
    exists_after: bool
    from_: str = msgspec.field(name="from")
    to: str
    changes: tuple[Change, ...]


class EntityAsOf(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An entity as it stood when the log had reached `asOf`. `value` has the shape in which the entity's own address
    answers; `position` is that of the last event that had changed it."""

    entity_id: UUID
    kind: str
    as_of: str
    position: str
    value: Any


_AS_OF = Operation(
    name="getEntityAsOf",
    permission="audit:read",
    summary="Any entity by its id as it was at a moment; a member by the person's id",
    tag="Audit",
    answers={200: EntityAsOf},
    query=(AS_OF, AUDITED_TENANT),
    refusals=(EntityUnknown,),
    within_projects=True,
)


@get("/audit/entities/{entity_id:uuid}", opt=_AS_OF.as_opt())
async def get_entity_as_of(request: Request[Any, Any, Any], entity_id: FromPath[UUID]) -> Answer:
    services = await reached(request)
    given = arguments(request, _AS_OF.query)
    tenant_id = audited_tenant(request, given.get(AUDITED_TENANT.name))
    position = await _moment(services, given, AS_OF.name)
    entity = await _shown_entity(request, services, tenant_id, entity_id)
    found = await standing(services.reader, tenant_id, entity, position)
    if found is None:
        raise EntityUnknown(f"The {entity.kind} was not there at that moment.")
    value: Any = found.row
    if isinstance(value, Member):
        value = msgspec.Raw((await members_shown(request, [found]))[0])
    return Answer(
        encoded(
            EntityAsOf(
                entity_id=entity_id,
                kind=entity.kind,
                as_of=await services.tokens.of(position),
                position=await services.tokens.of(found.position),
                value=value,
            )
        )
    )


_HISTORY = Operation(
    name="getHistory",
    permission="audit:read",
    summary="Every change of an entity with who, why and because of what, oldest first",
    tag="Audit",
    answers={200: Listed[HistoryEntry]},
    query=(*PAGE_PARAMETERS, AUDITED_TENANT),
    refusals=(EntityUnknown,),
    within_projects=True,
)


@get("/audit/history/{entity_id:uuid}", opt=_HISTORY.as_opt())
async def get_history(request: Request[Any, Any, Any], entity_id: FromPath[UUID]) -> Answer:
    services = await reached(request)
    wanted = await asked(request, services, (AUDITED_TENANT,))
    tenant_id = audited_tenant(request, wanted.filters.get(AUDITED_TENANT.name))
    entity = await entity_of(services.reader, tenant_id, entity_id, projects=audited_projects(request))
    found = await history(services.reader, tenant_id, entity, after=wanted.after or 0, limit=wanted.limit)
    items = [encoded(await _entry(services, item)) for item in found.items]
    cursor = None if found.next_after is None else await services.tokens.of(found.next_after)
    return listed(items, cursor)


_SPAN = (
    Parameter(
        name="from",
        type=MomentText,
        description="A time (RFC 3339) or a position; the log's beginning when left out.",
        example="1:4711",
    ),
    Parameter(
        name="to",
        type=MomentText,
        description="A time (RFC 3339) or a position; now when left out.",
        example="2026-03-01T12:00:00Z",
    ),
)
_DIFF = Operation(
    name="getDiff",
    permission="audit:read",
    summary="What differs in an entity between two moments, field by field",
    tag="Audit",
    answers={200: EntityDifference},
    query=(*_SPAN, AUDITED_TENANT),
    refusals=(EntityUnknown,),
    within_projects=True,
)


@get("/audit/diff/{entity_id:uuid}", opt=_DIFF.as_opt())
async def get_diff(request: Request[Any, Any, Any], entity_id: FromPath[UUID]) -> Answer:
    services = await reached(request)
    given = arguments(request, _DIFF.query)
    tenant_id = audited_tenant(request, given.get(AUDITED_TENANT.name))
    start = (await moment_of(services, given["from"], "from")).position if "from" in given else 0
    end = await _moment(services, given, "to")
    entity = await _shown_entity(request, services, tenant_id, entity_id)
    found = await difference(services.reader, tenant_id, entity, start, end)
    return Answer(
        encoded(
            EntityDifference(
                entity_id=entity_id,
                kind=entity.kind,
                existed_before=found.before is not None,
                exists_after=found.after is not None,
                from_=await services.tokens.of(start),
                to=await services.tokens.of(end),
                changes=found.changes,
            )
        )
    )


async def _moment(services: Services, given: dict[str, Any], name: str) -> int:
    """The position a parameter names; without it, as far as the log has come."""
    text = given.get(name)
    if text is None:
        text = await services.tokens.of(await services.log.head())
    return (await moment_of(services, text, name)).position


async def _shown_entity(
    request: Request[Any, Any, Any], services: Services, tenant_id: UUID, entity_id: UUID
) -> Entity:
    """The entity, of which more is shown than its events. Raises EntityUnknown."""
    entity = await entity_of(services.reader, tenant_id, entity_id, projects=audited_projects(request))
    if entity.versions is None:
        raise EntityUnknown(f"Of a {entity.kind} nothing is shown but its events; see its history.")
    return entity


async def _entry(services: Services, item: Entry) -> HistoryEntry:
    row = item.event.row
    return HistoryEntry(
        position=await services.tokens.of(item.event.position),
        at=row.at,
        type=row.type,
        entity_id=row.entity_id,
        actor=row.actor,
        command=row.command,
        command_id=row.command_id,
        correlation_id=row.correlation_id,
        causation_id=row.causation_id,
        reason=row.reason,
        changes=item.changes,
    )


HISTORY_ROUTES = (get_entity_as_of, get_history, get_diff)
