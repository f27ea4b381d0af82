"""What a request set in motion: its commands, their events, and the commands these led to."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec

from domain.refusal import NotFound
from eventstore.meta import Actor
from projections.audit_trail import AUDIT_EVENTS, AuditEvent, EventFilter
from projections.query import Found
from projections.reader import PAGE_ROWS_MAX, Reader

# A request that led to more is shown as far as this.
EVENTS_MAX = 5_000


class CorrelationUnknown(NotFound):
    """Nothing was recorded because of such a request."""

    code = "correlation_not_found"
    remedy = "Use the correlationId of an event, an answer or a problem."


class Caused(msgspec.Struct, frozen=True, kw_only=True):
    """A command with the events it recorded; `caused_by` is the position of the event that led to it, None for the
    request's own. `depth` counts the commands between it and the request."""

    command_id: UUID | None
    command: str
    actor: Actor
    reason: str
    caused_by: int | None
    depth: int
    events: tuple[Found[AuditEvent], ...]


class Tree(msgspec.Struct, frozen=True):
    """Each command stands before those it led to. `complete` is False when there is more than is shown."""

    commands: tuple[Caused, ...]
    complete: bool


async def causes(
    reader: Reader,
    tenant_id: UUID,
    correlation_id: UUID,
    *,
    projects: Sequence[UUID] | None = None,
    events_max: int = EVENTS_MAX,
) -> Tree:
    """All that belongs to one request, or what of it is in some projects. Raises CorrelationUnknown."""
    wanted = msgspec.structs.astuple(EventFilter(correlation_id=correlation_id, projects=projects))
    events: list[Found[AuditEvent]] = []
    after: int | None = None
    while len(events) < events_max:
        limit = min(PAGE_ROWS_MAX, events_max - len(events))
        page = await reader.page(AUDIT_EVENTS, tenant_id, *wanted, after=after, limit=limit)
        events += page.items
        after = page.next_after
        if after is None:
            break
    if not events:
        raise CorrelationUnknown
    return Tree(tree_of(events), complete=after is None)


def tree_of(events: Sequence[Found[AuditEvent]]) -> tuple[Caused, ...]:
    """The commands behind some events, each before those it led to."""
    by_command: dict[UUID | None, list[Found[AuditEvent]]] = {}
    for event in events:
        by_command.setdefault(event.row.command_id, []).append(event)
    command_at = {event.position: event.row.command_id for event in events}
    children: dict[UUID | None, list[UUID | None]] = {}
    roots: list[UUID | None] = []
    for command_id, own in by_command.items():
        cause = _position(own[0].row.causation_id)
        # An effect never stands before its cause, so this makes no circles.
        if cause in command_at and cause < own[0].position:
            children.setdefault(command_at[cause], []).append(command_id)
        else:
            roots.append(command_id)
    found: list[Caused] = []
    waiting = [(command_id, 0) for command_id in reversed(roots)]
    while waiting:
        command_id, depth = waiting.pop()
        found.append(_caused(by_command[command_id], depth))
        waiting += [(child, depth + 1) for child in reversed(children.get(command_id, []))]
    return tuple(found)


def _caused(own: Sequence[Found[AuditEvent]], depth: int) -> Caused:
    first = own[0].row
    return Caused(
        command_id=first.command_id,
        command=first.command,
        actor=first.actor,
        reason=first.reason,
        caused_by=_position(first.causation_id) or None,
        depth=depth,
        events=tuple(own),
    )


def _position(causation_id: str) -> int:
    """The position a cause names; 0 when it was no event."""
    return int(causation_id) if causation_id.isdecimal() else 0
