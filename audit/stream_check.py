"""The streams of the log against the present code: every event decodes and folds, the snapshots are what the events
before them fold to, and the log's own table of streams says of each where it stands.

Archived events lie in their files in the log's order, and not stream by stream: the files are read once for each lane of
streams, whose archived events are held in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any
from uuid import UUID

import msgspec

from audit.changes import changes
from audit.findings import Difference, Findings, Problem, Progress, Tell
from domain.event import Aggregate, StreamRef
from eventstore.archive.log_events import archived_events, archived_to, head
from eventstore.archive.whole import Shelf
from eventstore.archived import EventsArchived
from eventstore.codec import Codec
from eventstore.database import Database, Queries, Row
from eventstore.log import StoredEvent

WHERE, SNAPSHOTS = "streams", "snapshots"
PAGE_STREAMS = 500
# What is read in one statement, unless one stream alone has more.
PAGE_EVENTS = 5_000
# Of archived events so many are held at a time, of some kilobytes each at most.
ARCHIVED_HELD_MAX = 100_000
_LANES_MAX = 256

_FIRST = UUID(int=0)


class _Standing(msgspec.Struct, frozen=True, rename="camel"):
    """What the table of streams says of one."""

    version: int
    first_position: int
    last_position: int


_STREAMS = """
    SELECT s.tenant_id, s.stream_id, max(s.version) AS version, min(s.category) AS category,
           max(s.first_position) AS first_position, max(s.last_position) AS last_position, count(*) AS rows
      FROM log.streams s
     WHERE (s.tenant_id, s.stream_id) > ($1, $2) AND ($3::uuid IS NULL OR s.tenant_id = $3)
       AND ($4 = 1 OR get_byte(uuid_send(s.stream_id), 15) % $4 = $5)
     GROUP BY s.tenant_id, s.stream_id
     ORDER BY s.tenant_id, s.stream_id
     LIMIT $6
"""
_NAMED = """
    SELECT s.tenant_id, s.stream_id, max(s.version) AS version, min(s.category) AS category,
           max(s.first_position) AS first_position, max(s.last_position) AS last_position, count(*) AS rows
      FROM unnest($1::uuid[], $2::uuid[]) w (tenant_id, stream_id)
     CROSS JOIN LATERAL (SELECT r.* FROM log.streams r
                          WHERE r.tenant_id = w.tenant_id AND r.stream_id = w.stream_id OFFSET 0) s
     GROUP BY s.tenant_id, s.stream_id
"""
# Not by log.load, which trusts the very table that is looked at here.
_EVENTS = """
    SELECT e.position, e.tenant_id, e.stream_id, e.version, e.type, e.schema_version, e.recorded_at, e.meta, e.data
      FROM unnest($1::uuid[], $2::uuid[]) w (tenant_id, stream_id)
     CROSS JOIN LATERAL (SELECT r.* FROM log.events r
                          WHERE r.stream_id = w.stream_id AND r.tenant_id = w.tenant_id OFFSET 0) e
     ORDER BY e.tenant_id, e.stream_id, e.version
"""
# What other code has folded is read by no code but that.
_SNAPSHOTS = """
    SELECT s.tenant_id, s.stream_id, s.version, s.position, s.state
      FROM unnest($1::uuid[], $2::uuid[]) w (tenant_id, stream_id)
     CROSS JOIN LATERAL (SELECT r.* FROM work.snapshots r
                          WHERE r.tenant_id = w.tenant_id AND r.stream_id = w.stream_id AND r.code = $3 LIMIT 1) s
"""
_COUNT = """
    SELECT count(*) FROM log.events e
     WHERE e.position > $1 AND e.position <= $2 AND ($3::uuid IS NULL OR e.tenant_id = $3)
"""
_ESTIMATE = "SELECT greatest(1, sum(c.reltuples))::bigint FROM pg_class c WHERE c.oid = 'log.streams'::regclass"
# Counting looks at the whole log.
COUNT_SECONDS_MAX = 3_600.0


class StreamCheck:
    """`database` acts as dcf_engine. Streams are looked at in pages, each in a snapshot of its own."""

    def __init__(
        self,
        database: Database,
        codec: Codec,
        aggregates: Sequence[Aggregate[Any]],
        findings: Findings,
        tell: Tell,
        *,
        shelf: Shelf | None = None,
        archived_held_max: int = ARCHIVED_HELD_MAX,
    ) -> None:
        self._shelf, self._archived_held_max = shelf or Shelf(None), archived_held_max
        self._archived: dict[tuple[UUID, UUID], list[StoredEvent]] = {}
        self._database, self._codec, self._findings, self._tell = database, codec, findings, tell
        self._aggregates: Mapping[str, Aggregate[Any]] = {aggregate.name: aggregate for aggregate in aggregates}

    async def run(self, tenant_id: UUID | None) -> None:
        """Look at every stream, or every one of a tenant. Raises EventsArchived, ArchiveDamaged."""
        end = await head(self._database)
        of = await self._database.fetchval(_ESTIMATE)
        gone = await archived_to(self._database, self._shelf)
        lanes = min(_LANES_MAX, max(1, -(-gone // self._archived_held_max)))
        streams, counted, archived = 0, 0, 0
        for lane in range(lanes):
            archived += await self._take_archived(gone, tenant_id, lane, lanes)
            after = (_FIRST, _FIRST)
            while True:
                async with self._snapshot() as snapshot:
                    page = await snapshot.fetch(_STREAMS, *after, tenant_id, lanes, lane, PAGE_STREAMS)
                    counted += await self._look_at(snapshot, page, end)
                if not page:
                    break
                after, streams = (page[-1]["tenant_id"], page[-1]["stream_id"]), streams + len(page)
                self._tell(Progress(WHERE, streams, max(of, streams)))
        self._archived = {}
        live = await self._database.fetchval(_COUNT, gone, end, tenant_id, timeout=COUNT_SECONDS_MAX)
        there = archived + live
        expected = end if tenant_id is None else there
        if not counted == there == expected:
            detail = f"up to position {end} the log has {there} events, and its streams {counted}"
            self._add((tenant_id or _FIRST, tenant_id or _FIRST), "differs", detail=detail)

    async def run_named(self, named: Sequence[tuple[UUID, UUID]]) -> None:
        """Look at these streams, each a tenant's id and its own. Raises EventsArchived, ArchiveDamaged."""
        if await archived_to(self._database, self._shelf):
            for tenant_id, id in named:
                with suppress(EventsArchived):  # All of it is in the database.
                    self._archived[tenant_id, id] = await self._shelf.stream(StreamRef(tenant_id, "", id))
        async with self._snapshot() as snapshot:
            page = await snapshot.fetch(_NAMED, [one[0] for one in named], [one[1] for one in named])
            await self._look_at(snapshot, page, await head(snapshot))

    async def _take_archived(self, up_to: int, tenant_id: UUID | None, lane: int, lanes: int) -> int:
        """Hold the archived events of a lane of streams; how many that are."""
        self._archived = {}
        async for events in archived_events(self._shelf, up_to):
            for event in events:
                if event.stream_id.bytes[15] % lanes == lane and tenant_id in (None, event.tenant_id):
                    self._archived.setdefault((event.tenant_id, event.stream_id), []).append(event)
            self._tell(Progress("archived events", events[-1].position, up_to))
        return sum(map(len, self._archived.values()))

    def _snapshot(self) -> Any:
        return self._database.transaction(isolation="repeatable_read", readonly=True)

    async def _look_at(self, snapshot: Queries, page: Sequence[Row], end: int) -> int:
        """How many events they have up to `end`."""
        count, rest = 0, list(page)
        while rest:
            together, events = 1, rest[0]["version"]
            while together < len(rest) and events + rest[together]["version"] <= PAGE_EVENTS:
                events += rest[together]["version"]
                together += 1
            count += await self._look_at_some(snapshot, rest[:together], end)
            del rest[:together]
        return count

    async def _look_at_some(self, snapshot: Queries, page: Sequence[Row], end: int) -> int:
        keys = [(row["tenant_id"], row["stream_id"]) for row in page]
        by_stream: dict[tuple[UUID, UUID], list[StoredEvent]] = {key: [] for key in keys}
        for row in await snapshot.fetch(_EVENTS, [key[0] for key in keys], [key[1] for key in keys]):
            by_stream[row["tenant_id"], row["stream_id"]].append(StoredEvent(*row))
        for key in by_stream.keys() & self._archived.keys():
            here = {event.position for event in by_stream[key]}
            more = [event for event in self._archived[key] if event.position not in here]
            by_stream[key] = sorted([*more, *by_stream[key]], key=lambda event: event.version)
        named = ([key[0] for key in keys], [key[1] for key in keys], self._codec.code)
        kept = {(row["tenant_id"], row["stream_id"]): row for row in await snapshot.fetch(_SNAPSHOTS, *named)}
        for row, (key, events) in zip(page, by_stream.items(), strict=True):
            self._findings.checked[WHERE] += 1
            self._compare(key, row, events)
            aggregate = self._aggregates.get(row["category"])
            # What others keep in the log has types of theirs, which only they can fold.
            if aggregate is not None:
                self._fold(key, aggregate, events, kept.get(key))
            elif any(self._codec.knows(event.type) for event in events):
                self._add(key, "unreadable", detail=f"its events are ours, and its category is {row['category']!r}")
        return sum(event.position <= end for events in by_stream.values() for event in events)

    def _compare(self, key: tuple[UUID, UUID], row: Row, events: Sequence[StoredEvent]) -> None:
        stored = _Standing(row["version"], row["first_position"], row["last_position"])
        if not events or row["rows"] != 1:
            self._add(key, "differs", detail=f"{row['rows']} rows say where it stands, and it has {len(events)} events")
            return
        said = _Standing(events[-1].version, events[0].position, events[-1].position)
        if stored != said:
            found = changes(msgspec.to_builtins(stored), msgspec.to_builtins(said))
            self._add(key, "differs", changes=found)
        first = events[0].version
        if first not in (0, 1) or [event.version for event in events] != list(range(first, first + len(events))):
            self._add(key, "differs", detail="its versions have a gap")
        elif any(one.position >= other.position for one, other in pairwise(events)):
            self._add(key, "differs", detail="its versions and positions run against each other")

    def _fold(
        self, key: tuple[UUID, UUID], aggregate: Aggregate[Any], events: Sequence[StoredEvent], kept: Row | None
    ) -> None:
        state, position, at_snapshot = aggregate.initial, 0, None
        for event in events:
            try:
                state = aggregate.evolve(state, self._codec.decode(event))
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one stream is a finding about it
                detail = f"{event.type} at {event.position}: {type(error).__name__}: {error}"
                self._add(key, "unreadable", detail=detail)
                return
            if kept is not None and kept["version"] == event.version:
                position, at_snapshot = event.position, state
        if kept is not None:
            self._findings.checked[SNAPSHOTS] += 1
            said = None if at_snapshot is None else {"position": position, "state": _plain(at_snapshot)}
            stored = {"position": kept["position"], "state": msgspec.json.decode(kept["state"])}
            if found := changes(stored, said):
                self._add(key, "differs" if said else "surplus", where=SNAPSHOTS, changes=found)

    def _add(self, key: tuple[UUID, UUID], problem: Problem, *, where: str = WHERE, **more: Any) -> None:
        self._findings.add(Difference(where=where, tenant_id=key[0], id=str(key[1]), problem=problem, **more))


def _plain(state: Any) -> Any:
    """As a snapshot keeps it."""
    return msgspec.json.decode(msgspec.json.encode(state))
