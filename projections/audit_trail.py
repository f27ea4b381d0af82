"""The audit trail: every event of the log, ready to be filtered by what people ask about.

An index on the log itself would be paid for by every append; a read model is paid for afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import msgspec

from domain.catalogue import AGGREGATES
from eventstore.codec import tag_of
from eventstore.meta import Actor
from projections.query import ROWS, Found, Order, Query, page_of
from projections.read_model import Column, Index, ReadModel
from projections.recorded import Recorded


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One event: what was recorded, of which entity, by whom, by which command, and because of what."""

    type: str
    at: datetime
    entity_id: UUID
    version: int
    actor: Actor
    command: str
    command_id: UUID | None
    correlation_id: UUID | None
    causation_id: str
    reason: str = ""
    project_id: UUID | None = None
    # Personal fields are sealed, here as in the log.
    data: dict[str, Any]


# What checks a credential is no use to anybody who reads.
_NEVER_SHOWN = ("at", "secretHash")


def row_id(position: int) -> UUID:
    """The id of the row of the event at a position: one row an event, so that is all there is to know it by."""
    return UUID(int=position)


def keys(recorded: Recorded) -> Sequence[UUID]:
    return (row_id(recorded.position),)


def project(row: AuditEvent | None, recorded: Recorded) -> AuditEvent | None:
    meta, data = recorded.meta, msgspec.to_builtins(recorded.event)
    del data["type"]
    for name in _NEVER_SHOWN:
        data.pop(name, None)
    return AuditEvent(
        type=tag_of(type(recorded.event)),
        at=recorded.at,
        entity_id=recorded.stream_id,
        version=recorded.version,
        actor=meta.actor,
        command=meta.command,
        command_id=meta.command_id,
        correlation_id=meta.correlation_id,
        causation_id=meta.causation_id,
        reason=meta.reason or data.get("reason", ""),
        project_id=meta.project_id,
        data=data,
    )


AUDIT_TRAIL = ReadModel(
    name="audit_trail",
    version=2,
    row=AuditEvent,
    interests=tuple(event for aggregate in AGGREGATES for event in aggregate.events),
    keys=keys,
    project=project,
    columns=(
        Column("entity_id", "uuid", lambda row: row.entity_id),
        Column("correlation_id", "uuid", lambda row: row.correlation_id),
        Column("actor_id", "text", lambda row: row.actor.id),
        Column("type", "text", lambda row: row.type),
        Column("project_id", "uuid", lambda row: row.project_id),
    ),
    # Whatever a tenant asks for by itself has an index, however rare it is. Entities and requests are told apart by their
    # ids alone, whichever tenant they are of.
    indexes=(
        Index("in_order", "tenant_id, first_position"),
        Index("of_all", "first_position"),
        Index("of_entity", "entity_id, first_position"),
        Index("of_correlation", "correlation_id, first_position"),
        Index("of_actor", "tenant_id, actor_id, first_position"),
        Index("of_type", "tenant_id, type, first_position"),
        Index("of_project", "tenant_id, project_id, first_position", where="project_id IS NOT NULL"),
    ),
    keeps_history=False,
    append_only=True,
)

Rows = Iterable[Found[AuditEvent]]


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are asked for; what is None does not matter. Of positions those above `above` count, and those up to
    `up_to`."""

    entity_id: UUID | None = None
    correlation_id: UUID | None = None
    type: str | None = None
    actor_id: str | None = None
    project_id: UUID | None = None
    above: int | None = None
    up_to: int | None = None
    # Of those alone: what a caller may know of, beside what is asked for.
    projects: Sequence[UUID] | None = None

    def fits(self, found: Found[AuditEvent]) -> bool:
        row = found.row
        return (
            self.entity_id in (None, row.entity_id)
            and self.correlation_id in (None, row.correlation_id)
            and self.type in (None, row.type)
            and self.actor_id in (None, row.actor.id)
            and self.project_id in (None, row.project_id)
            and (self.above is None or found.first_position > self.above)
            and (self.up_to is None or found.first_position <= self.up_to)
            and (self.projects is None or row.project_id in self.projects)
        )


def _page(rows: Rows, *asked: Any, order: Order = "oldest_first") -> list[Found[AuditEvent]]:
    *filters, after, limit = asked
    wanted = EventFilter(**dict(zip(EventFilter.__struct_fields__, filters, strict=True)))
    return page_of(filter(wanted.fits, rows), order, after, limit)


def _page_of_all(
    rows: Rows, tenant_id: UUID | None, *asked: Any, order: Order = "oldest_first"
) -> list[Found[AuditEvent]]:
    return _page((found for found in rows if tenant_id in (None, found.tenant_id)), *asked, order=order)


def _at(rows: Rows, ids: Sequence[UUID]) -> list[Found[AuditEvent]]:
    return sorted((found for found in rows if found.id in ids), key=lambda found: found.first_position)


_FILTERS = ("uuid", "uuid", "text", "text", "uuid", "bigint", "bigint", "uuid[]", "bigint", "integer")
_FITTING = """
       AND ($2::uuid IS NULL OR t.entity_id = $2)
       AND ($3::uuid IS NULL OR t.correlation_id = $3)
       AND ($4::text IS NULL OR t.type = $4)
       AND ($5::text IS NULL OR t.actor_id = $5)
       AND ($6::uuid IS NULL OR t.project_id = $6)
       AND ($7::bigint IS NULL OR t.first_position > $7)
       AND ($8::bigint IS NULL OR t.first_position <= $8)
       AND ($9::uuid[] IS NULL OR t.project_id = ANY($9))"""
_OLDEST_FIRST = """
       AND t.first_position > $10
     ORDER BY t.first_position
     LIMIT $11"""
_NEWEST_FIRST = """
       AND t.first_position < $10
     ORDER BY t.first_position DESC
     LIMIT $11"""
_OF_TENANT = ROWS + " WHERE t.tenant_id = $1" + _FITTING
_OF_ALL = ROWS + " WHERE ($1::uuid IS NULL OR t.tenant_id = $1)" + _FITTING

# A tenant's events. Arguments: the values of an EventFilter.
AUDIT_EVENTS = Query(
    name="audit_events",
    model=AUDIT_TRAIL,
    answer=AuditEvent,
    parameters=_FILTERS,
    sql=_OF_TENANT + _OLDEST_FIRST,
    select=_page,
    order="oldest_first",
    replans=True,
)
AUDIT_EVENTS_NEWEST = msgspec.structs.replace(
    AUDIT_EVENTS,
    name="audit_events_newest",
    sql=_OF_TENANT + _NEWEST_FIRST,
    select=partial(_page, order="newest_first"),
    order="newest_first",
)

# The events of all tenants, for operators. Arguments: a tenant id, which may be None, and the values of an EventFilter.
AUDIT_EVENTS_OF_ALL = Query(
    name="audit_events_of_all",
    model=AUDIT_TRAIL,
    answer=AuditEvent,
    parameters=("uuid", *_FILTERS),
    sql=_OF_ALL + _OLDEST_FIRST,
    select=_page_of_all,
    audience="anyone",
    order="oldest_first",
    replans=True,
)
AUDIT_EVENTS_OF_ALL_NEWEST = msgspec.structs.replace(
    AUDIT_EVENTS_OF_ALL,
    name="audit_events_of_all_newest",
    sql=_OF_ALL + _NEWEST_FIRST,
    select=partial(_page_of_all, order="newest_first"),
    order="newest_first",
)

# The tenant's events at some positions. Arguments: the `row_id` of each.
AUDIT_EVENTS_AT = Query(
    name="audit_events_at",
    model=AUDIT_TRAIL,
    answer=AuditEvent,
    parameters=("uuid[]",),
    sql=ROWS + " WHERE t.tenant_id = $1 AND t.id = ANY($2) ORDER BY t.first_position",
    select=_at,
)
