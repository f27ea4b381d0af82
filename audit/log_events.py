"""The log read in order for whoever folds it again: as much of it as is wanted, in pieces of bounded size."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from uuid import UUID

import msgspec

from eventstore.database import Queries
from eventstore.log import StoredEvent

# One statement looks through so many positions at most, however few of their events are wanted.
POSITIONS_MAX = 50_000
EVENTS_MAX = 1_000


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which events: all that is None does not matter. Of the events whose type is not among the `strays` only those of
    the `streams`, and of the `lane` among so many `lanes`, both by the id of their stream."""

    types: Sequence[str] | None = None
    tenant_id: UUID | None = None
    strays: Sequence[str] = ()
    streams: frozenset[UUID] | None = None
    lane: int = 0
    lanes: int = 1


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
_HEAD = "SELECT coalesce(max(e.position), 0) FROM log.events e"


async def head(queries: Queries) -> int:
    """The last position that `queries` sees."""
    position: int = await queries.fetchval(_HEAD)
    return position


async def events(queries: Queries, wanted: Wanted, *, after: int, up_to: int) -> AsyncIterator[Piece]:
    """The wanted events with `after` < position <= `up_to`, in order; a piece at least every POSITIONS_MAX positions."""
    position = after
    streams = None if wanted.streams is None else list(wanted.streams)
    while position < up_to:
        end = min(up_to, position + POSITIONS_MAX)
        rows = await queries.fetch(
            _EVENTS,
            position,
            end,
            None if wanted.types is None else list(wanted.types),
            wanted.tenant_id,
            list(wanted.strays),
            streams,
            wanted.lanes,
            wanted.lane,
            EVENTS_MAX,
        )
        found = [StoredEvent(*row) for row in rows]
        position = end if len(found) < EVENTS_MAX else found[-1].position
        yield Piece(found, position)


async def events_at(queries: Queries, positions: Collection[int]) -> list[StoredEvent]:
    """The events at these positions."""
    return [StoredEvent(*row) for row in await queries.fetch(_AT, list(positions))]
