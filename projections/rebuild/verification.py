"""Whether a build is right: compared whole with another build, and in samples with a fold straight from the log."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from eventstore.archive.log_events import Wanted, archived_piece, events_of
from eventstore.archive.whole import Shelf
from eventstore.codec import Codec, tag_of
from eventstore.database import Queries
from eventstore.log import StoredEvent
from eventstore.selection import SELECTED, stored_events
from projections.read_model import AnyModel, RowKey, own_stream
from projections.recorded import Recorded
from projections.side_by_side import side_by_side

SAMPLES = 8
SAMPLE_POSITIONS = 1_000
SAMPLE_ENTITIES_MAX = 50
DIFFERENCES_MAX = 20
SECONDS_MAX = 3_600.0


class Past(msgspec.Struct, frozen=True):
    """What `queries`, a snapshot, shows of the log, and before that what is on the shelf, up to `archived_to`."""

    queries: Queries
    archived_to: int = 0
    shelf: Shelf = msgspec.field(default_factory=lambda: Shelf(None))

    async def between(
        self, model: AnyModel, start: int, end: int, tenants: Sequence[UUID] | None = None
    ) -> tuple[list[StoredEvent], int]:
        """The model's events from behind `start` up to `end`, or up to an earlier position, which is told."""
        tags = [tag_of(event) for event in model.interests]
        if start < self.archived_to:
            until = min(end, self.archived_to)
            piece = await archived_piece(self.shelf, Wanted(types=tags), after=start, up_to=until)
            return [e for e in piece.events if tenants is None or e.tenant_id in tenants], piece.position
        return stored_events(await self.queries.fetch(_EVENTS, start, end, tags, tenants)), end


class Findings(msgspec.Struct, kw_only=True, rename="camel"):
    """What was found. `differing` rows or versions are in one build and not in the other, `wrong` ones are not what the
    log says; of both only so many are named. `compared` is False when there was no build of the same version."""

    rows: int = 0
    versions: int = 0
    compared: bool = False
    served_rows: int = 0
    served_versions: int = 0
    differing: list[str] = []
    refolded: int = 0
    wrong: list[str] = []

    @property
    def are_good(self) -> bool:
        """The build is what the log says, as far as was looked."""
        return not self.wrong


# The order of rows makes no difference to a sum of their hashes. The bytes are hashed as they are: anything made of them
# first, a digest or a text, takes several times as long.
_CHECKSUM = """
    SELECT count(*) AS count, coalesce(sum(hash_record_extended(ROW({columns}, t.row), 0)), 0) AS checksum
      FROM views.{table} t
"""
_ROW = "t.tenant_id, t.id, t.first_position, t.position"
_VERSION = "t.tenant_id, t.id, t.valid_from, t.valid_to"
_DIFFERING = """
    SELECT d.tenant_id, d.id
      FROM ((SELECT {columns}, md5(t.row) FROM views.{one} t EXCEPT SELECT {columns}, md5(t.row) FROM views.{other} t)
             UNION ALL
            (SELECT {columns}, md5(t.row) FROM views.{other} t EXCEPT SELECT {columns}, md5(t.row) FROM views.{one} t)) d
     GROUP BY d.tenant_id, d.id
     LIMIT $1
"""
_EVENTS = f"""
    SELECT {SELECTED}
      FROM log.events e
     WHERE e.position > log.beyond_archives($1) AND e.position <= $2 AND e.type = ANY($3) AND ($4::uuid[] IS NULL OR e.tenant_id = ANY($4))
     ORDER BY e.position
"""  # noqa: S608 - names of columns
_ROWS = """
    SELECT t.tenant_id, t.id, t.first_position, t.position, t.row
      FROM unnest($1::uuid[], $2::uuid[]) w (tenant_id, id)
     CROSS JOIN LATERAL (SELECT r.* FROM views.{kind} r
                          WHERE r.tenant_id = w.tenant_id AND r.id = w.id LIMIT 1) t
"""
_PARKED = "SELECT p.tenant_id, p.stream_id, p.ids FROM views.parked p WHERE p.kind = $1"

Standing = tuple[int, int, bytes]


async def compare(
    queries: Queries, model: AnyModel, theirs: Queries, other: AnyModel, findings: Findings
) -> list[RowKey]:
    """Compare counts and checksums with another build of the same version, both standing at the same position: for
    `queries` the model, for `theirs` both of them. The keys of rows that differ, or whose history does."""
    findings.compared = True
    one, two = list[_Count](), list[_Count]()
    await side_by_side(_count(queries, model, one), _count(theirs, other, two))
    findings.rows, findings.served_rows = one[0].rows, two[0].rows
    differing: list[RowKey] = []
    if one[0] != two[0]:
        differing += await _differing(theirs, model.kind, other.kind, _ROW)
    if model.keeps_history:
        findings.versions, findings.served_versions = one[1].rows, two[1].rows
        if one[1] != two[1]:
            differing += await _differing(theirs, f"{model.kind}_history", f"{other.kind}_history", _VERSION)
    findings.differing = [f"{tenant_id}/{id}" for tenant_id, id in differing]
    return differing


class _Count(msgspec.Struct, frozen=True):
    rows: int
    checksum: Decimal


async def _count(queries: Queries, model: AnyModel, counts: list[_Count]) -> None:
    """The rows, and where the model has one, the history."""
    tables = [(model.kind, _ROW), (f"{model.kind}_history", _VERSION)] if model.keeps_history else [(model.kind, _ROW)]
    for table, columns in tables:
        row = await queries.fetchrow(_CHECKSUM.format(columns=columns, table=table), timeout=SECONDS_MAX)
        assert row is not None, "an aggregate always answers"
        counts.append(_Count(row["count"], row["checksum"]))


async def _differing(queries: Queries, one: str, other: str, columns: str) -> list[RowKey]:
    text = _DIFFERING.format(one=one, other=other, columns=columns)
    return [(row[0], row[1]) for row in await queries.fetch(text, DIFFERENCES_MAX, timeout=SECONDS_MAX)]


async def sample(
    past: Past, codec: Codec, model: AnyModel, position: int, findings: Findings, chance: random.Random
) -> None:
    """Refold entities that change in some stretches of the log up to `position`, each from its first event on, and look
    whether the table of the model has their rows so. Of a model whose rows any stream may tell of, one row is refolded
    from the whole log; of one that makes a row of each event, those of the stretches."""
    for _ in range(SAMPLES):
        start = chance.randrange(max(1, position - SAMPLE_POSITIONS + 1))
        end = min(position, start + SAMPLE_POSITIONS)
        if model.append_only:
            await _check(past, codec, model, start, end, None, findings)
            continue
        keys = await _changed(past, codec, model, start, end)
        if model.keys is own_stream or model.sources is not None:
            chosen = chance.sample(keys, min(len(keys), SAMPLE_ENTITIES_MAX))
            await _check_entities(past, codec, model, chosen, position, findings)
        elif keys:
            await check_rows(past, codec, model, position, [chance.choice(keys)], findings)
            return


async def check_rows(
    past: Past, codec: Codec, model: AnyModel, position: int, keys: Sequence[RowKey], findings: Findings
) -> None:
    """Refold these rows from the beginning of the log, and look whether they are as the table has them."""
    await _check(past, codec, model, 0, position, frozenset(keys), findings)


async def _check_entities(
    past: Past, codec: Codec, model: AnyModel, keys: Sequence[RowKey], position: int, findings: Findings
) -> None:
    """As of `position`. A row that is missing is found too: which streams tell of it is asked of the log."""
    tags = [tag_of(event) for event in model.interests]
    streams: set[RowKey] = set()
    refold = await _refold(past.queries, codec, model, frozenset(keys))
    while new := {source for key in keys for source in refold.sources(key)} - streams:
        streams |= new
        refold = await _refold(past.queries, codec, model, frozenset(keys))
        refold.take(await events_of(past.queries, streams, Wanted(types=tags), up_to=position, shelf=past.shelf))
    wanted = [key for key in keys if key not in refold.given_up]
    found = await _found(past.queries, model, wanted)
    for key in wanted:
        _judge(key, found.get(key), refold, findings)


async def _changed(past: Past, codec: Codec, model: AnyModel, start: int, end: int) -> list[RowKey]:
    """The rows that events from `start` to `end` touch."""
    refold, keys = _Refold(codec, model, None), set[RowKey]()
    while start < end:
        events, start = await past.between(model, start, end)
        keys |= {key for event in events for key in refold.keys(event)}
    return sorted(keys)


async def _check(
    past: Past,
    codec: Codec,
    model: AnyModel,
    start: int,
    end: int,
    keys: frozenset[RowKey] | None,
    findings: Findings,
) -> None:
    refold = await _refold(past.queries, codec, model, keys)
    tenants = None if keys is None else sorted({tenant_id for tenant_id, _ in keys})
    position = start
    while position < end:
        events, position = await past.between(model, position, min(end, position + SAMPLE_POSITIONS), tenants)
        refold.take(events)
    wanted = [key for key in keys or refold.rows if key not in refold.given_up]
    found = await _found(past.queries, model, wanted)
    for key in wanted:
        there = found.get(key)
        if keys is None and (there is None or there[0] <= start or there[1] > end):
            continue  # It began before the stretch, or went on after it.
        _judge(key, there, refold, findings)


async def _refold(queries: Queries, codec: Codec, model: AnyModel, keys: frozenset[RowKey] | None) -> _Refold:
    """A fold that has taken nothing yet, and leaves out what is parked."""
    refold = _Refold(codec, model, keys)
    for row in await queries.fetch(_PARKED, model.kind):
        refold.give_up(row["tenant_id"], row["stream_id"], row["ids"])
    return refold


async def _found(queries: Queries, model: AnyModel, keys: Sequence[RowKey]) -> dict[RowKey, Standing]:
    """The rows as the table has them."""
    text = _ROWS.format(kind=model.kind)
    rows = await queries.fetch(text, [key[0] for key in keys], [key[1] for key in keys])
    return {(row[0], row[1]): (row[2], row[3], bytes(row[4])) for row in rows}


def _judge(key: RowKey, there: Standing | None, refold: _Refold, findings: Findings) -> None:
    findings.refolded += 1
    name = f"{key[0]}/{key[1]}"
    if there != refold.standing(key) and name not in findings.wrong and len(findings.wrong) < DIFFERENCES_MAX:
        findings.wrong.append(name)


class _Refold:
    """The plainest fold there is, of the rows that begin within what it takes; with `keys`, of these alone."""

    def __init__(self, codec: Codec, model: AnyModel, keys: frozenset[RowKey] | None) -> None:
        self._codec, self._model, self._keys = codec, model, keys
        self.rows: dict[RowKey, tuple[int, int, Any]] = {}
        self.given_up: set[RowKey] = set()
        self._streams: set[tuple[UUID, UUID]] = set()
        self._sources: defaultdict[RowKey, set[RowKey]] = defaultdict(set)

    def sources(self, key: RowKey) -> set[RowKey]:
        """The streams that tell of the row, as far as what was taken shows them."""
        return self._sources[key] | self._told_by(key, None)

    def keys(self, stored: StoredEvent) -> list[RowKey]:
        """The rows that an event touches; none when it cannot be read."""
        seen = self._seen(stored)
        return [] if seen is None else [(seen[0].tenant_id, id) for id in seen[1]]

    def standing(self, key: RowKey) -> Standing | None:
        """The row as the table should have it."""
        first, position, row = self.rows.get(key, (0, 0, None))
        return None if row is None else (first, position, msgspec.json.encode(row))

    def give_up(self, tenant_id: UUID, stream_id: UUID, ids: Iterable[UUID]) -> None:
        """Leave out the stream and the rows: their events are parked."""
        self._streams.add((tenant_id, stream_id))
        for id in ids:
            self.given_up.add((tenant_id, id))
            self.rows.pop((tenant_id, id), None)

    def take(self, events: Iterable[StoredEvent]) -> None:
        for stored in events:
            if (stored.tenant_id, stored.stream_id) not in self._streams:
                self._apply(stored)

    def _apply(self, stored: StoredEvent) -> None:
        seen = self._seen(stored)
        if seen is None:
            self.give_up(stored.tenant_id, stored.stream_id, ())
            return
        recorded, ids = seen
        for id in ids:
            key = (stored.tenant_id, id)
            if key not in self.given_up and (self._keys is None or key in self._keys):
                self._project(key, recorded)

    def _seen(self, stored: StoredEvent) -> tuple[Recorded, Sequence[UUID]] | None:
        """The event and the rows it touches; None: it is parked, or was before the stretch."""
        try:
            recorded = Recorded(
                self._codec.decode(stored),
                stored.tenant_id,
                stored.stream_id,
                stored.version,
                stored.position,
                stored.recorded_at,
                stored.meta,
            )
            return recorded, self._model.keys(recorded)
        except Exception:  # noqa: BLE001 - whatever is wrong with it
            return None

    def _told_by(self, key: RowKey, row: Any) -> set[RowKey]:
        tenant_id, id = key
        sources = self._model.sources
        return {(tenant_id, source) for source in ((id,) if sources is None else sources(tenant_id, id, row))}

    def _project(self, key: RowKey, recorded: Recorded) -> None:
        first, _, before = self.rows.get(key, (0, 0, None))
        try:
            after = self._model.project(before, recorded)
        except Exception:  # noqa: BLE001 - the row began before the stretch
            self.given_up.add(key)
            self.rows.pop(key, None)
            return
        if after is None:
            self.rows[key] = (0, 0, None)
        elif after is not before:
            self._sources[key] |= self._told_by(key, after)
            self.rows[key] = (first if before is not None else recorded.position, recorded.position, after)
