"""The audit trail: every event of the log, ready to be filtered by what people ask about.

An index on the log itself would be paid for by every append; a read model is paid for afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from domain.catalogue import AGGREGATES
from eventstore.codec import tag_of
from eventstore.meta import Actor
from projections.query import ROWS, Found, Query, page_of
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
    # Personal fields are sealed, here as in the log.
    data: dict[str, Any]


def keys(recorded: Recorded) -> Sequence[UUID]:
    # One row an event, so that the position is all there is to know it by.
    return (UUID(int=recorded.position),)


def project(row: AuditEvent | None, recorded: Recorded) -> AuditEvent | None:
    meta, data = recorded.meta, msgspec.to_builtins(recorded.event)
    del data["type"]
    data.pop("at", None)
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
        data=data,
    )


AUDIT_TRAIL = ReadModel(
    name="audit_trail",
    version=1,
    row=AuditEvent,
    interests=tuple(event for aggregate in AGGREGATES for event in aggregate.events),
    keys=keys,
    project=project,
    columns=(
        Column("entity_id", "uuid", lambda row: row.entity_id),
        Column("correlation_id", "uuid", lambda row: row.correlation_id),
        Column("actor_id", "text", lambda row: row.actor.id),
        Column("type", "text", lambda row: row.type),
    ),
    indexes=(
        Index("in_order", "tenant_id, first_position"),
        Index("of_entity", "tenant_id, entity_id, first_position"),
        Index("of_correlation", "tenant_id, correlation_id, first_position"),
    ),
    keeps_history=False,
    append_only=True,
)

Rows = Iterable[Found[AuditEvent]]


def _page(
    rows: Rows,
    entity_id: UUID | None,
    correlation_id: UUID | None,
    type: str | None,
    actor_id: str | None,
    after: int,
    limit: int,
) -> list[Found[AuditEvent]]:
    chosen = (
        found
        for found in rows
        if entity_id in (None, found.row.entity_id)
        and correlation_id in (None, found.row.correlation_id)
        and type in (None, found.row.type)
        and actor_id in (None, found.row.actor.id)
    )
    return page_of(chosen, "oldest_first", after, limit)


# A tenant's events. Arguments: entity id, correlation id, type, actor id; each may be None.
AUDIT_EVENTS = Query(
    name="audit_events",
    model=AUDIT_TRAIL,
    answer=AuditEvent,
    parameters=("uuid", "uuid", "text", "text", "bigint", "integer"),
    sql=ROWS
    + """
     WHERE t.tenant_id = $1
       AND ($2::uuid IS NULL OR t.entity_id = $2)
       AND ($3::uuid IS NULL OR t.correlation_id = $3)
       AND ($4::text IS NULL OR t.type = $4)
       AND ($5::text IS NULL OR t.actor_id = $5)
       AND t.first_position > $6
     ORDER BY t.first_position
     LIMIT $7""",
    select=_page,
    order="oldest_first",
    replans=True,
)
