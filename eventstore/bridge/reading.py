"""What recorders read: a stream between two versions, the log between two positions."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec

from domain.event import StreamRef
from eventstore.archive.whole import WholeLog
from eventstore.archived import EventsArchived, told_if_archived
from eventstore.bridge.datastore import Reach
from eventstore.log import StoredEvent

# The log is looked through this many positions at a time, so that no statement takes long, however rare what is wanted.
POSITIONS_AT_ONCE = 100_000
# So many of an archive, which is read event by event.
ARCHIVED_EVENTS_AT_ONCE = 5_000
VERSION_MAX = 2**31 - 1
COUNT_MAX = 2**63 - 1

_STREAM = """
    SELECT position, version, type, schema_version, recorded_at, meta, data
      FROM log.read_stream($1, $2, $3, $4, $5, $6)
"""

_BETWEEN = """
    SELECT position, tenant_id, stream_id, version, type, schema_version, recorded_at, meta, data
      FROM log.read_between($1, $2, $3, $4, $5)
"""

_LAST = "SELECT log.last_position($1, $2)"


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Versions above one and up to another, at most so many, from either end."""

    above: int = -1
    up_to: int = VERSION_MAX
    newest_first: bool = False
    at_most: int = COUNT_MAX

    def of(self, events: Sequence[StoredEvent]) -> list[StoredEvent]:
        """Those of a whole stream that are in the span."""
        found = [event for event in events if self.above < event.version <= self.up_to]
        return (found[::-1] if self.newest_first else found)[: self.at_most]


async def stream_events(reach: Reach, id: UUID, span: Span) -> list[StoredEvent]:
    """The stream's events in the span; none when there is no such stream. Raises AmbiguousStream."""
    tenant_id = await tenant_of(reach, id)
    bounds = msgspec.structs.astuple(span)
    try:
        with told_if_archived():
            rows = await reach.database.fetch(_STREAM, tenant_id, id, *bounds)
    except EventsArchived:
        [events] = await WholeLog(reach.log, reach.shelf).load([StreamRef(tenant_id, "", id)])
        return span.of(events)
    return [StoredEvent(position, tenant_id, id, *rest) for position, *rest in rows]


async def tenant_of(reach: Reach, id: UUID) -> UUID:
    """Whose a stream is, or would be. Raises AmbiguousStream."""
    if reach.scope.tenant_id is not None:
        return reach.scope.tenant_id
    found = await reach.streams.find([id])
    return found[id].tenant_id if id in found else reach.home


class Found(msgspec.Struct, frozen=True):
    """Events in order, and the position up to which there are no others."""

    events: list[StoredEvent]
    reached: int


async def events_between(
    reach: Reach, above: int, up_to: int | None, *, types: Sequence[str] | None, limit: int
) -> Found:
    """The first events of these types (None: of all) above one position and up to another (None: the log's end)."""
    end = await reach.log.head()
    end = end if up_to is None else min(up_to, end)
    found: list[StoredEvent] = []
    while above < end and len(found) < limit:
        window = await _window(reach, above, end, types=types, limit=limit - len(found))
        found += window.events
        above = window.reached
    return Found(found, above)


async def _window(reach: Reach, above: int, end: int, *, types: Sequence[str] | None, limit: int) -> Found:
    """As events_between, but no further than what takes no statement long."""
    window_end = min(above + POSITIONS_AT_ONCE, end)
    try:
        with told_if_archived():
            rows = await reach.database.fetch(_BETWEEN, reach.scope.tenant_id, above, window_end, types, limit)
    except EventsArchived:
        return await _archived_window(reach, above, window_end, types=types, limit=limit)
    events = [StoredEvent(*row) for row in rows]
    return Found(events, events[-1].position if len(events) == limit else window_end)


async def _archived_window(
    reach: Reach, above: int, window_end: int, *, types: Sequence[str] | None, limit: int
) -> Found:
    archived = [
        event for event in await reach.shelf.read(above, limit=ARCHIVED_EVENTS_AT_ONCE) if event.position <= window_end
    ]
    events = [
        event
        for event in archived
        if reach.scope.tenant_id in (None, event.tenant_id) and (types is None or event.type in types)
    ][:limit]
    return Found(events, events[-1].position if len(events) == limit else archived[-1].position)


async def last_position(reach: Reach) -> int | None:
    """The last position there is to read; None when there is none."""
    position: int | None = await reach.database.fetchval(_LAST, reach.scope.tenant_id, await reach.log.head())
    return position
