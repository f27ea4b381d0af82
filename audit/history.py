"""The history of one entity: every event about it, and what each changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from audit.changes import Change, changes
from domain.refusal import NotFound
from projections.audit_trail import AUDIT_EVENTS, AUDIT_EVENTS_AT, AuditEvent, EventFilter, row_id
from projections.query import Found
from projections.reader import Reader
from projections.versions import VERSIONS, VERSIONS_APART, Versions


class EntityUnknown(NotFound):
    """Nothing was ever recorded about such a thing."""

    code = "entity_not_found"
    remedy = "Use the entityId of an event that GET /api/v1/audit/events lists."


# The position of the event that made it, and what is shown of it, as JSON has it; None: it is gone.
Version = tuple[int, Any]


class Entity(msgspec.Struct, frozen=True):
    """Something that has events, its own or those of what it belongs to: `kind` is the aggregate's name, or that of what
    has no stream of its own. No versions: nothing is shown of it but its events."""

    id: UUID
    kind: str
    versions: Versions | None


class Entry(msgspec.Struct, frozen=True):
    """One event, and what it changed of how the entity is shown. It may be an event of another entity."""

    event: Found[AuditEvent]
    changes: tuple[Change, ...]


class Entries(msgspec.Struct, frozen=True):
    """A piece of a history. `next_after` asks for the following piece; None: there is none."""

    items: list[Entry]
    next_after: int | None


class Difference(msgspec.Struct, frozen=True):
    """An entity at two positions. None: it was not there."""

    entity: Entity
    before: Found[Any] | None
    after: Found[Any] | None
    changes: tuple[Change, ...]


async def entity_of(
    reader: Reader, tenant_id: UUID, entity_id: UUID, *, projects: Sequence[UUID] | None = None
) -> Entity:
    """What an id belongs to, by its first event, or by what is shown under it. Raises EntityUnknown.

    With `projects` whatever is in none of them is unknown. What is in one has all its events there.
    """
    for first in await _events(reader, tenant_id, entity_id, after=0, limit=1, projects=projects):
        kind = first.row.type.partition(".")[0]
        return Entity(entity_id, kind, VERSIONS.get(kind))
    # What has no stream of its own belongs to no project.
    for kind, versions in VERSIONS_APART.items() if projects is None else ():
        if await reader.rows(versions.all, tenant_id, entity_id, 0, 1):
            return Entity(entity_id, kind, versions)
    raise EntityUnknown


async def standing(reader: Reader, tenant_id: UUID, entity: Entity, position: int) -> Found[Any] | None:
    """The entity as it was shown at a position; None: it was not there, or nothing is ever shown of it."""
    if entity.versions is None:
        return None
    return await reader.one(entity.versions.at, tenant_id, position, entity.id)


async def history(reader: Reader, tenant_id: UUID, entity: Entity, *, after: int, limit: int) -> Entries:
    """The entity's events that follow `after`, oldest first, with those of other entities that changed it."""
    own = {found.position: found for found in await _events(reader, tenant_id, entity.id, after=after, limit=limit + 1)}
    versions = await _versions(reader, tenant_id, entity, after=after, limit=limit + 1)
    others = await _at(reader, tenant_id, [position for position, _ in versions if position not in own])
    # The read models need not have come equally far: what one does not show yet is left for the next time.
    known = own | others
    every = sorted(known.keys() | {position for position, _ in versions})
    complete = next((number for number, position in enumerate(every) if position not in known), len(every))
    shown = every[: min(limit, complete)]
    before = await standing(reader, tenant_id, entity, after)
    changed = _changed(before, versions)
    items = [Entry(known[position], changed.get(position, ())) for position in shown]
    return Entries(items, shown[-1] if len(every) > len(shown) and shown else None)


async def difference(reader: Reader, tenant_id: UUID, entity: Entity, start: int, end: int) -> Difference:
    """What became of the entity between two positions."""
    before = await standing(reader, tenant_id, entity, start)
    after = await standing(reader, tenant_id, entity, end)
    return Difference(entity, before, after, changes(_plain(before), _plain(after)))


def _changed(before: Found[Any] | None, versions: Sequence[Version]) -> dict[int, tuple[Change, ...]]:
    """What each version changed, by its position."""
    found: dict[int, tuple[Change, ...]] = {}
    last = _plain(before)
    for position, plain in versions:
        found[position] = changes(last, plain)
        last = plain
    return found


def _plain(found: Found[Any] | None) -> Any:
    """The row as JSON has it, without what is not shown."""
    return None if found is None else msgspec.to_builtins(found.row)


async def _versions(reader: Reader, tenant_id: UUID, entity: Entity, *, after: int, limit: int) -> list[Version]:
    """What it became, oldest first; not more of either kind than the limit."""
    if entity.versions is None:
        return []
    found = await reader.rows(entity.versions.all, tenant_id, entity.id, after, limit)
    became = [(version.position, _plain(version)) for version in found]
    if entity.versions.endings is not None:
        ended = await reader.rows(entity.versions.endings, tenant_id, entity.id, after, limit)
        became = sorted([*became, *((ending.position, None) for ending in ended)], key=lambda version: version[0])
    return became[:limit]


async def _events(
    reader: Reader,
    tenant_id: UUID,
    entity_id: UUID,
    *,
    after: int,
    limit: int,
    projects: Sequence[UUID] | None = None,
) -> list[Found[AuditEvent]]:
    wanted = msgspec.structs.astuple(EventFilter(entity_id=entity_id, projects=projects))
    return await reader.rows(AUDIT_EVENTS, tenant_id, *wanted, after, limit)


async def _at(reader: Reader, tenant_id: UUID, positions: Sequence[int]) -> dict[int, Found[AuditEvent]]:
    if not positions:
        return {}
    found = await reader.rows(AUDIT_EVENTS_AT, tenant_id, [row_id(position) for position in positions])
    return {event.position: event for event in found}
