"""One read model against the log: its rows, their columns and their history, as a fold of the log has them.

The rows are looked at in lanes, each small enough to be folded in memory. Most of a lane is folded beforehand; then a
snapshot shows how far the model has come, the rest is folded up to exactly there, and the snapshot's rows are compared.
So it can be done while the model is being fed, and while it is rebuilt and switched.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any
from uuid import UUID

import msgspec

from audit.changes import Change, changes
from audit.findings import Difference, Findings, Problem, Progress, Tell
from audit.model_tables import (
    Table,
    bytes_of,
    count_up_to,
    history_in,
    parked_in,
    position_of,
    rows_in,
    rows_of,
    version_in,
)
from audit.refold import Refold, Refolded, Version, lane_of
from eventstore.archive.log_events import Wanted, events, events_at
from eventstore.archive.whole import Shelf
from eventstore.codec import Codec, tag_of
from eventstore.database import Database, Queries, Row
from projections.read_model import AnyModel, RowKey

# What a lane's rows and versions take in their tables; folded, in memory, they take about five times as much.
LANE_BYTES = 32_000_000
LANES_MAX = 256
# The columns that every row has, of which the last is the row itself.
_COMMON_COUNT = 5

_decode = msgspec.json.decode
_encode = msgspec.json.encode


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked at: `model` says how the log is folded, `table` what that is compared with. With `exactly`, the
    table's columns, positions and history are the model's own. Of events only those of `wanted` count."""

    model: AnyModel
    table: Table
    wanted: Wanted
    exactly: bool = True

    @property
    def with_history(self) -> bool:
        return self.exactly and self.model.keeps_history


async def check_model(
    database: Database,
    codec: Codec,
    check: Check,
    findings: Findings,
    tell: Tell,
    *,
    lane_bytes: int = LANE_BYTES,
    shelf: Shelf | None = None,
) -> None:
    """Compare, and add what differs. `database` acts as dcf_engine; archived events come from the shelf.

    Raises TableGone: begin again with another build; EventsArchived, ArchiveDamaged.
    """
    if check.model.append_only:
        await _AppendedRows(database, codec, check, findings, tell, shelf).run()
        return
    size = 0 if check.table.keys is not None else await bytes_of(database, check.table)
    lanes = min(LANES_MAX, max(1, -(-size // lane_bytes)))
    for lane in range(lanes):
        await _Lane(database, codec, _in_lane(check, lane, lanes), findings, tell, shelf).run()


def wanted_by(model: AnyModel) -> Wanted:
    """The events a model is interested in, and which of them every lane has to see."""
    return Wanted(
        types=[tag_of(event) for event in model.interests],
        strays=() if model.append_only else [tag_of(event) for event in model.strays],
    )


def _in_lane(check: Check, lane: int, lanes: int) -> Check:
    replace = msgspec.structs.replace
    return replace(
        check,
        table=replace(check.table, lane=lane, lanes=lanes),
        wanted=replace(check.wanted, lane=lane, lanes=lanes),
    )


class _Compared:
    """What is common to both ways: where the differences go."""

    def __init__(
        self, database: Database, codec: Codec, check: Check, findings: Findings, tell: Tell, shelf: Shelf | None
    ) -> None:
        self._database, self._codec, self._check = database, codec, check
        self._findings, self._tell, self._shelf = findings, tell, shelf
        self._name = check.model.name

    def _tell_parked(self, parked: Iterable[Row]) -> None:
        for row in parked:
            if row["error"] and self._is_about(row["stream_id"], row["ids"]):
                detail = f"the event at {row['position']} could not be applied: {row['error']}"
                self._differ((row["tenant_id"], row["stream_id"]), "parked", detail=detail)

    def _is_about(self, stream_id: UUID, ids: Iterable[UUID]) -> bool:
        streams = self._check.wanted.streams
        return streams is None or not streams.isdisjoint((stream_id, *ids))

    def _compare(self, key: RowKey, stored: Row | None, said: Refolded | None) -> None:
        self._findings.checked[f"{self._name} rows"] += stored is not None
        if stored is None or said is None:
            row = None if stored is None else _decode(stored["row"])
            found = changes(row, None if said is None else _plain(said.row))
            self._differ(key, "missing" if stored is None else "surplus", found)
            return
        found = _of_rows(stored["row"], said.row)
        if self._check.exactly:
            found += tuple(self._of_columns(stored, said))
        if found:
            self._differ(key, "differs", found)

    def _of_columns(self, stored: Row, said: Refolded) -> Iterable[Change]:
        there = tuple(stored)
        here = [said.first_position, said.position, *(column.of(said.row) for column in self._check.model.columns)]
        names = ["first_position", "position", *self._check.table.columns]
        for name, before, after in zip(names, (*there[2:4], *there[_COMMON_COUNT:]), here, strict=True):
            if before != after:
                yield Change(name, _plain(before), _plain(after))

    def _differ(
        self,
        key: RowKey,
        problem: Problem,
        found: tuple[Change, ...] = (),
        *,
        position: int | None = None,
        detail: str = "",
    ) -> None:
        self._findings.add(
            Difference(
                where=self._name,
                tenant_id=key[0],
                id=str(key[1]),
                problem=problem,
                position=position,
                changes=found,
                detail=detail,
            )
        )


class _Lane(_Compared):
    """The rows of one lane, or those that are named."""

    async def run(self) -> None:
        check = self._check
        self._refold = Refold(check.model, self._codec, self._is_wanted, versions=check.with_history)
        position = await position_of(self._database, check.table)
        await self._fold(self._database, 0, position)
        async with self._database.transaction(isolation="repeatable_read", readonly=True) as snapshot:
            reached = await position_of(snapshot, check.table)
            await self._fold(snapshot, position, reached)
            parked = await parked_in(snapshot, check.table)
            if check.table.lane == 0:
                self._tell_parked(parked)
            left_out = _keys_of(parked) | self._refold.held.keys()
            for key, reason in self._refold.held.items():
                if key not in _keys_of(parked) and self._is_wanted(key):
                    self._differ(key, "unreadable", detail=reason)
            await self._compare_rows(snapshot, left_out)
            if check.with_history:
                await self._compare_history(snapshot, left_out)

    async def _fold(self, queries: Queries, after: int, up_to: int) -> None:
        lane, lanes = self._check.table.lane, self._check.table.lanes
        async for piece in events(queries, self._check.wanted, after=after, up_to=up_to, shelf=self._shelf):
            for stored in piece.events:
                self._refold.take(stored)
            self._tell(Progress(self._name, lane * up_to + piece.position, lanes * up_to))

    def _is_wanted(self, key: RowKey) -> bool:
        table = self._check.table
        return key in table.keys if table.keys is not None else lane_of(key[1], table.lanes) == table.lane

    async def _compare_rows(self, snapshot: Queries, left_out: Collection[RowKey]) -> None:
        said = self._refold.rows
        async for page in rows_in(snapshot, self._check.table):
            for row in page:
                key = (row["tenant_id"], row["id"])
                expected = said.pop(key, None)
                if key not in left_out:
                    self._compare(key, row, expected)
        for key, expected in said.items():
            if key not in left_out:
                self._compare(key, None, expected)

    async def _compare_history(self, snapshot: Queries, left_out: Collection[RowKey]) -> None:
        said = {
            (*key, version.valid_from): version
            for key, versions in self._refold.versions.items()
            for version in versions
            if version.valid_to is not None
        }
        async for page in history_in(snapshot, self._check.table):
            for tenant_id, id, valid_from, valid_to, past in page:
                key, expected = (tenant_id, id), said.pop((tenant_id, id, valid_from), None)
                if key in left_out:
                    continue
                self._findings.checked[f"{self._name} versions"] += 1
                if expected is None or past != expected.kept or valid_to != expected.valid_to:
                    raw = await version_in(snapshot, self._check.table, key, valid_from)
                    if expected is not None and past == expected.kept:
                        raw = expected.raw  # Should it not be so, something else is wrong, and told.
                    self._compare_versions(key, Version(valid_from, valid_to, raw), expected)
        for (tenant_id, id, _), expected in said.items():
            if (tenant_id, id) not in left_out:
                self._compare_versions((tenant_id, id), None, expected)

    def _compare_versions(self, key: RowKey, stored: Version | None, said: Version | None) -> None:
        one = stored or said
        assert one is not None, "one of the two is there"
        if stored is None or said is None:
            found = changes(*(None if version is None else _decode(version.raw) for version in (stored, said)))
            problem: Problem = "missing" if stored is None else "surplus"
        else:
            found, problem = _of_rows(stored.raw, _decode(said.raw)), "differs"
            if stored.valid_to != said.valid_to:
                found += (Change("valid_to", stored.valid_to, said.valid_to),)
        if found or problem != "differs":
            self._differ(key, problem, found, position=one.valid_from)


class _AppendedRows(_Compared):
    """Rows that are made once and never change: each event's own are looked up, in one pass over the log."""

    async def run(self) -> None:
        check, said = self._check, 0
        position = await position_of(self._database, check.table)
        parked = await parked_in(self._database, check.table)
        self._tell_parked(parked)
        left_out = _keys_of(parked)
        async for piece in events(self._database, check.wanted, after=0, up_to=position, shelf=self._shelf):
            refold = Refold(check.model, self._codec, lambda _: True)
            for stored in piece.events:
                refold.take(stored)
            for key, reason in refold.held.items():
                if key not in left_out:
                    self._differ(key, "unreadable", detail=reason)
            rows = {key: row for key, row in refold.rows.items() if key not in left_out}
            await self._look_up(rows)
            said += len(rows)
            self._tell(Progress(self._name, piece.position, position))
        if check.wanted.streams is None and await count_up_to(self._database, check.table, position) > said:
            await self._find_surplus(position, left_out)

    async def _look_up(self, said: dict[RowKey, Refolded]) -> None:
        found = {(row["tenant_id"], row["id"]): row for row in await rows_of(self._database, self._check.table, said)}
        for key, expected in said.items():
            self._compare(key, found.get(key), expected)

    async def _find_surplus(self, position: int, left_out: Collection[RowKey]) -> None:
        """Tell the rows that the events at their positions do not make."""
        async for page in rows_in(self._database, self._check.table):
            rows = {(row["tenant_id"], row["id"]): row for row in page if row["position"] <= position}
            refold = Refold(self._check.model, self._codec, lambda _: True)
            positions = {row["position"] for row in rows.values()}
            for stored in await events_at(self._database, positions, self._shelf):
                refold.take(stored)
            for key, row in rows.items():
                if key not in refold.rows and key not in refold.held and key not in left_out:
                    self._compare(key, row, None)


def _keys_of(parked: Iterable[Row]) -> set[RowKey]:
    """The rows that wait for events which are set aside, and the streams of these."""
    return {(row["tenant_id"], id) for row in parked for id in (row["stream_id"], *row["ids"])}


def _of_rows(stored: bytes, said: Any) -> tuple[Change, ...]:
    """What differs; bytes alone do not count, since older code may have written the same otherwise."""
    raw = _encode(said)
    return () if stored == raw else changes(_decode(stored), _decode(raw))


def _plain(value: Any) -> Any:
    """As JSON has it."""
    return msgspec.to_builtins(value, enc_hook=str)
