"""Which streams of a part of the log leave with it: those that are over, and of which nothing stayed behind before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from domain.catalogue import AGGREGATES
from domain.event import Aggregate, StreamRef
from eventstore.codec import Codec, UnknownEventType, UnreadableEvent
from eventstore.database import Database, Row
from eventstore.log import Log, StoredEvent

PAGE_STREAMS = 200
SECONDS_MAX = 3_600.0

_ENDING: dict[str, Aggregate[Any]] = {aggregate.name: aggregate for aggregate in AGGREGATES if aggregate.ends}
# A stream that began before this part and is here still stayed then, and stays a whole; `gone` has left before.
_STREAMS = """
    SELECT s.tenant_id, s.stream_id, s.category,
           s.first_position < $1 AND NOT EXISTS (SELECT FROM log.events f WHERE f.position = s.first_position) AS gone
      FROM (SELECT DISTINCT e.stream_id, e.tenant_id FROM log.{table} e) e
     CROSS JOIN LATERAL (SELECT r.tenant_id, r.stream_id, r.category, r.first_position FROM log.streams r
                          WHERE r.tenant_id = e.tenant_id AND r.stream_id = e.stream_id
                          ORDER BY r.generation DESC LIMIT 1) s
     WHERE s.category = ANY ($2)
       AND (s.first_position >= $1 OR NOT EXISTS (SELECT FROM log.events f WHERE f.position = s.first_position))
"""


async def leaving_streams(owner: Database, log: Log, codec: Codec, table: str, first: int) -> list[tuple[UUID, UUID]]:
    """Tenant and id of each. What nobody here can fold stays."""
    rows = await owner.fetch(_STREAMS.format(table=table), first, list(_ENDING), timeout=SECONDS_MAX)
    leaving = [(row["tenant_id"], row["stream_id"]) for row in rows if row["gone"] or _is_over_at_once(row)]
    judged = [row for row in rows if not (row["gone"] or _is_over_at_once(row))]
    for begin in range(0, len(judged), PAGE_STREAMS):
        leaving += await _over(log, codec, judged[begin : begin + PAGE_STREAMS])
    return leaving


def _is_over_at_once(row: Row) -> bool:
    """Whatever it holds."""
    aggregate = _ENDING[row["category"]]
    return aggregate.is_over(aggregate.initial)


async def _over(log: Log, codec: Codec, rows: Iterable[Row]) -> Iterator[tuple[UUID, UUID]]:
    streams = [StreamRef(row["tenant_id"], row["category"], row["stream_id"]) for row in rows]
    loaded = await log.load(streams)
    return (
        (stream.tenant_id, stream.id)
        for stream, events in zip(streams, loaded, strict=True)
        if _is_over(codec, _ENDING[stream.category], events)
    )


def _is_over(codec: Codec, aggregate: Aggregate[Any], events: Iterable[StoredEvent]) -> bool:
    state = aggregate.initial
    try:
        for stored in events:
            state = aggregate.evolve(state, codec.decode(stored))
    except (UnknownEventType, UnreadableEvent):
        return False
    return aggregate.is_over(state)
