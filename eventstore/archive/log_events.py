"""The log read in order for whoever folds it again: as much of it as is wanted, in pieces of bounded size.

What is archived comes from its files, as if it had never left the database.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import suppress
from uuid import UUID

import msgspec

from eventstore.archive.whole import Shelf
from eventstore.archived import EventsArchived, told_if_archived
from eventstore.database import Queries
from eventstore.log import StoredEvent

# One statement looks through so many positions at most, however few of their events are wanted.
POSITIONS_MAX = 50_000
EVENTS_MAX = 1_000
# Files are read by whole blocks, which have as many.
ARCHIVED_EVENTS_MAX = 5_000


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which events: all that is None does not matter. Of the events whose type is not among the `strays` only those of
    the `streams`, and of the `lane` among so many `lanes`, both by the id of their stream."""

    types: Sequence[str] | None = None
    tenant_id: UUID | None = None
    strays: Sequence[str] = ()
    streams: frozenset[UUID] | None = None
    lane: int = 0
    lanes: int = 1

    def has(self, event: StoredEvent) -> bool:
        """Whether the event is one of them."""
        if self.types is not None and event.type not in self.types:
            return False
        if self.tenant_id not in (None, event.tenant_id):
            return False
        if event.type in self.strays:
            return True
        named = self.streams is None or event.stream_id in self.streams
        return named and event.stream_id.bytes[15] % self.lanes == self.lane


class Piece(msgspec.Struct, frozen=True):
    """Some events, and the position up to which there are no others that are wanted."""

    events: list[StoredEvent]
    position: int


_EVENTS = """
    SELECT e.position, e.tenant_id, e.stream_id, e.version, e.type, e.schema_version, e.recorded_at, e.meta, e.data
      FROM log.events e
     WHERE e.position > log.beyond_archives($1) AND e.position <= $2
       AND ($3::text[] IS NULL OR e.type = ANY($3))
       AND ($4::uuid IS NULL OR e.tenant_id = $4)
       AND (e.type = ANY($5::text[])
            OR ($6::uuid[] IS NULL OR e.stream_id = ANY($6))
               AND ($7 = 1 OR get_byte(uuid_send(e.stream_id), 15) % $7 = $8))
     ORDER BY e.position
     LIMIT $9
"""
_AT = """
    SELECT e.position, e.tenant_id, e.stream_id, e.version, e.type, e.schema_version, e.recorded_at, e.meta, e.data
      FROM log.events e
     WHERE e.position = ANY($1)
     ORDER BY e.position
"""
_OF = """
    SELECT e.position, e.tenant_id, e.stream_id, e.version, e.type, e.schema_version, e.recorded_at, e.meta, e.data
      FROM unnest($1::uuid[], $2::uuid[]) w (tenant_id, stream_id)
      JOIN log.events e ON e.stream_id = w.stream_id AND e.tenant_id = w.tenant_id
     WHERE e.position <= $3 AND ($4::text[] IS NULL OR e.type = ANY($4))
     ORDER BY e.position
"""
_LEFT = """
    SELECT w.tenant_id, w.stream_id, s.first_position, s.last_position
      FROM unnest($1::uuid[], $2::uuid[]) w (tenant_id, stream_id)
     CROSS JOIN LATERAL (SELECT r.first_position, r.last_position
                           FROM log.streams r
                          WHERE r.tenant_id = w.tenant_id AND r.stream_id = w.stream_id
                          ORDER BY r.generation DESC LIMIT 1) s
     WHERE NOT EXISTS (SELECT FROM log.events f WHERE f.position = s.first_position)
"""
_FROM_THE_BEGINNING = "SELECT log.beyond_archives(0)"
_HEAD = "SELECT coalesce(max(e.position), 0) FROM log.events e"


async def head(queries: Queries) -> int:
    """The last position that `queries` sees."""
    position: int = await queries.fetchval(_HEAD)
    return position


async def events(
    queries: Queries, wanted: Wanted, *, after: int, up_to: int, shelf: Shelf | None = None
) -> AsyncIterator[Piece]:
    """The wanted events with `after` < position <= `up_to`, in order; a piece at least every POSITIONS_MAX positions.

    Raises EventsArchived for those that are archived, and not on the shelf; ArchiveDamaged.
    """
    position = after
    while position < up_to:
        try:
            piece = await _in_database(queries, wanted, position, min(up_to, position + POSITIONS_MAX))
        except EventsArchived:
            if shelf is None:
                raise
            piece = await archived_piece(shelf, wanted, after=position, up_to=up_to)
        position = piece.position
        yield piece


async def archived_piece(shelf: Shelf, wanted: Wanted, *, after: int, up_to: int) -> Piece:
    """What the shelf has of the wanted events behind a position, some of them. Raises EventsArchived, ArchiveDamaged."""
    read = await shelf.read(after, limit=min(up_to - after, ARCHIVED_EVENTS_MAX))
    return Piece([event for event in read if wanted.has(event)], read[-1].position)


async def _in_database(queries: Queries, wanted: Wanted, after: int, end: int) -> Piece:
    with told_if_archived():
        rows = await queries.fetch(
            _EVENTS,
            after,
            end,
            None if wanted.types is None else list(wanted.types),
            wanted.tenant_id,
            list(wanted.strays),
            None if wanted.streams is None else list(wanted.streams),
            wanted.lanes,
            wanted.lane,
            EVENTS_MAX,
        )
    found = [StoredEvent(*row) for row in rows]
    return Piece(found, end if len(found) < EVENTS_MAX else found[-1].position)


async def archived_to(queries: Queries, shelf: Shelf) -> int:
    """Up to which position the shelf has what is not in the database any more; 0: everything is there.

    Raises EventsArchived when the shelf has nothing of it.
    """
    try:
        with told_if_archived():
            await queries.fetchval(_FROM_THE_BEGINNING)
    except EventsArchived:
        return (await shelf.beyond(0)).end
    return 0


async def archived_events(shelf: Shelf, up_to: int) -> AsyncIterator[list[StoredEvent]]:
    """All that the shelf has from the beginning up to a position. Raises EventsArchived, ArchiveDamaged."""
    position = 0
    while position < up_to:
        read = await shelf.read(position, limit=ARCHIVED_EVENTS_MAX)
        position = read[-1].position
        yield [event for event in read if event.position <= up_to]


async def events_of(
    queries: Queries, streams: Collection[tuple[UUID, UUID]], wanted: Wanted, *, up_to: int, shelf: Shelf | None = None
) -> list[StoredEvent]:
    """The wanted events of these streams, each a tenant's id and its own, up to a position, in order.

    Of one that left the database the shelf is looked through where it stood. Raises EventsArchived, ArchiveDamaged.
    """
    tenants, ids = [tenant_id for tenant_id, _ in streams], [id for _, id in streams]
    types = None if wanted.types is None else list(wanted.types)
    found = {row["position"]: StoredEvent(*row) for row in await queries.fetch(_OF, tenants, ids, up_to, types)}
    for tenant_id, id, position, last in await queries.fetch(_LEFT, tenants, ids):
        after, end = position - 1, min(last, up_to)
        while after < end:
            try:
                piece = await archived_piece(shelf or Shelf(None), wanted, after=after, up_to=end)
            except EventsArchived:
                if after >= position:
                    break  # It went on in what is not archived.
                raise
            found |= {e.position: e for e in piece.events if (e.tenant_id, e.stream_id) == (tenant_id, id)}
            after = piece.position
    return [found[position] for position in sorted(found)]


async def events_at(queries: Queries, positions: Collection[int], shelf: Shelf | None = None) -> list[StoredEvent]:
    """The events at these positions, as far as there are any."""
    found = [StoredEvent(*row) for row in await queries.fetch(_AT, list(positions))]
    left = sorted(set(positions) - {event.position for event in found})
    with suppress(EventsArchived):
        while left and shelf is not None:
            read = await shelf.read(left[0] - 1, limit=ARCHIVED_EVENTS_MAX)
            found += [event for event in read if event.position in left]
            left = [position for position in left if position > read[-1].position]
    return found
