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
from projections.versions import VERSIONS, Versions


class EntityUnknown(NotFound):
    """Nothing was ever recorded about such a thing."""

    code = "entity_not_found"


class Entity(msgspec.Struct, frozen=True):
    """Something that has events: `kind` is the aggregate's name. No versions: nothing is shown of it but its events."""

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


async def entity_of(reader: Reader, tenant_id: UUID, entity_id: UUID) -> Entity:
    """What an id belongs to, by its first event. Raises EntityUnknown."""
    first = await _events(reader, tenant_id, entity_id, after=0, limit=1)
    if not first:
        raise EntityUnknown
    kind = first[0].row.type.partition(".")[0]
    return Entity(entity_id, kind, VERSIONS.get(kind))


async def history(reader: Reader, tenant_id: UUID, entity: Entity, *, after: int, limit: int) -> Entries:
    """The entity's events that follow `after`, oldest first, with those of other entities that changed it."""
    own = {found.position: found for found in await _events(reader, tenant_id, entity.id, after=after, limit=limit + 1)}
    versions = await _versions(reader, tenant_id, entity, after=after, limit=limit + 1)
    others = await _at(reader, tenant_id, [found.position for found in versions if found.position not in own])
    # The read models need not have come equally far: what one does not show yet is left for the next time.
    known = own | others
    every = sorted(known.keys() | {found.position for found in versions})
    complete = next((number for number, position in enumerate(every) if position not in known), len(every))
    shown = every[: min(limit, complete)]
    before = await _standing(reader, tenant_id, entity, after)
    changed = _changed(before, versions)
    items = [Entry(known[position], changed.get(position, ())) for position in shown]
    return Entries(items, shown[-1] if len(every) > len(shown) and shown else None)


async def difference(reader: Reader, tenant_id: UUID, entity: Entity, start: int, end: int) -> Difference:
    """What became of the entity between two positions."""
    before = await _standing(reader, tenant_id, entity, start)
    after = await _standing(reader, tenant_id, entity, end)
    return Difference(entity, before, after, changes(_plain(before), _plain(after)))


def _changed(before: Found[Any] | None, versions: Sequence[Found[Any]]) -> dict[int, tuple[Change, ...]]:
    """What each version changed, by its position."""
    found: dict[int, tuple[Change, ...]] = {}
    last = _plain(before)
    for version in versions:
        plain = _plain(version)
        found[version.position] = changes(last, plain)
        last = plain
    return found


def _plain(found: Found[Any] | None) -> Any:
    """The row as JSON has it, without what is not shown."""
    return None if found is None else msgspec.to_builtins(found.row)


async def _standing(reader: Reader, tenant_id: UUID, entity: Entity, position: int) -> Found[Any] | None:
    if entity.versions is None:
        return None
    return await reader.one(entity.versions.at, tenant_id, position, entity.id)


async def _versions(reader: Reader, tenant_id: UUID, entity: Entity, *, after: int, limit: int) -> list[Found[Any]]:
    if entity.versions is None:
        return []
    return await reader.rows(entity.versions.all, tenant_id, entity.id, after, limit)


async def _events(
    reader: Reader, tenant_id: UUID, entity_id: UUID, *, after: int, limit: int
) -> list[Found[AuditEvent]]:
    wanted = msgspec.structs.astuple(EventFilter(entity_id=entity_id))
    return await reader.rows(AUDIT_EVENTS, tenant_id, *wanted, after, limit)


async def _at(reader: Reader, tenant_id: UUID, positions: Sequence[int]) -> dict[int, Found[AuditEvent]]:
    if not positions:
        return {}
    found = await reader.rows(AUDIT_EVENTS_AT, tenant_id, [row_id(position) for position in positions])
    return {event.position: event for event in found}
