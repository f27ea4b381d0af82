"""What recorders read: a stream between two versions, the log between two positions."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec

from eventstore.bridge.datastore import Reach
from eventstore.log import StoredEvent

# The log is looked through this many positions at a time, so that no statement takes long, however rare what is wanted.
POSITIONS_AT_ONCE = 100_000
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


async def stream_events(reach: Reach, id: UUID, span: Span) -> list[StoredEvent]:
    """The stream's events in the span; none when there is no such stream. Raises AmbiguousStream."""
    tenant_id = await tenant_of(reach, id)
    bounds = msgspec.structs.astuple(span)
    rows = await reach.database.fetch(_STREAM, tenant_id, id, *bounds)
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
        window_end, wanted = min(above + POSITIONS_AT_ONCE, end), limit - len(found)
        rows = await reach.database.fetch(_BETWEEN, reach.scope.tenant_id, above, window_end, types, wanted)
        found += [StoredEvent(*row) for row in rows]
        above = found[-1].position if len(rows) == wanted else window_end
    return Found(found, above)


async def last_position(reach: Reach) -> int | None:
    """The last position there is to read; None when there is none."""
    position: int | None = await reach.database.fetchval(_LAST, reach.scope.tenant_id, await reach.log.head())
    return position
