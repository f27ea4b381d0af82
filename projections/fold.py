"""A batch of events folded into one read model's rows, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from eventstore.log import NO_STREAM
from projections.parking import Parked, ParkedStreams, error_text
from projections.past_versions import PastVersions
from projections.read_model import AnyModel, RowKey
from projections.recorded import Recorded

_encode = msgspec.json.Encoder().encode
_FIRST_VERSION = NO_STREAM + 1


class NotItsOwn(Exception):
    """The event makes a row under an id that is not its stream's, and the model says that none does."""


class Folded(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch did to one read model, as tuples of column values.

    added     tenant id, id, first position, position, the model's columns, the row's bytes: rows the table lacks
    changed   the same, of rows that the table has
    gone      tenant id, id
    closed    tenant id, id, valid from, valid to, the row's bytes: versions that stand no longer, for the history
    """

    added: list[tuple[Any, ...]] = []
    changed: list[tuple[Any, ...]] = []
    gone: list[tuple[UUID, UUID]] = []
    closed: PastVersions = msgspec.field(default_factory=PastVersions)
    parked: list[Parked] = []


class Row:
    """One row while a batch is folded. `stored` says that the table has a version of it, `known` that this need not
    be asked. `content` is the row's bytes, once somebody has needed them."""

    __slots__ = ("changed", "content", "first_position", "known", "position", "row", "stored")

    def __init__(self) -> None:
        self.row: Any = None
        self.first_position = 0
        self.position = 0
        self.stored = False
        self.known = False
        self.content: bytes | None = None
        self.changed = False

    def encoded(self) -> bytes:
        if self.content is None:
            self.content = _encode(self.row)
        return self.content

    @property
    def size_bytes(self) -> int:
        """How many bytes it has, as far as they are known."""
        return 0 if self.content is None else len(self.content)

    def as_written(self) -> Row:
        """The row as the next batch finds it."""
        written = Row()
        written.row = self.row
        written.content = self.content
        written.first_position = self.first_position
        written.position = self.position
        written.stored = self.row is not None
        written.known = True
        return written


# Nearly every event touches its own stream's row and no other: then it is that row alone.
_Taken = tuple[Recorded, Sequence[UUID], Row | None, Sequence[Row]]


class Fold:
    """One read model's part of a batch: `take` the events, `load` the rows in `wanted`, `apply`, then `finish`.

    `before` is the fold of the batch before, which has been applied but perhaps not yet been written: what it knows of
    rows is newer than the table. `recent` are rows as the table has them. `again`: the events may have been applied
    before, so that a row may be there already when its own stream begins.
    """

    def __init__(
        self,
        model: AnyModel,
        parked: ParkedStreams,
        before: Fold | None = None,
        recent: Mapping[RowKey, Row] | None = None,
        again: bool = False,
    ) -> None:
        self.model = model
        self._before: Mapping[RowKey, Row] = before.rows if before else {}
        self._recent = recent or {}
        self._applied = 0
        self._streams = parked
        self._taken: list[_Taken] = []
        self._faults: dict[int, Exception] = {}
        self.rows: dict[RowKey, Row] = {}
        self._decode: Callable[[bytes], Any] | None = None  # Most small batches load nothing.
        self._own_only = model.makes_own_rows_only
        self._looks_up_all = again or not self._own_only
        self._closed = PastVersions()
        self._parked: list[Parked] = []

    @property
    def taken(self) -> int:
        """How many events were taken."""
        return len(self._taken)

    @property
    def keys(self) -> list[RowKey]:
        """The rows that the events taken so far touch."""
        return list(self.rows)

    @property
    def wanted(self) -> list[RowKey]:
        """Those of them that have to be looked up."""
        return [] if self.model.append_only else [key for key, row in self.rows.items() if not row.known]

    def take(self, events: Iterable[Recorded]) -> None:
        """The next events, all of which the model is interested in."""
        keys, rows, taken, faults = self.model.keys, self.rows, self._taken, self._faults
        for recorded in events:
            ids: Sequence[UUID] = ()
            try:
                if not faults or recorded.position not in faults:
                    ids = keys(recorded)
            except Exception as error:  # noqa: BLE001 - a fault of one event must not stop the others
                faults[recorded.position] = error
            tenant_id = recorded.tenant_id
            if len(ids) == 1 and ids[0] is recorded.stream_id:
                key = (tenant_id, recorded.stream_id)
                taken.append((recorded, ids, rows.get(key) or self._touch(key, recorded), ()))
                continue
            touched = [rows.get((tenant_id, id)) or self._touch((tenant_id, id), recorded) for id in ids]
            taken.append((recorded, ids, None, touched))

    def note_unreadable(self, position: int, error: Exception) -> None:
        """The event at a position that is yet to be taken could not be decoded: it will be parked."""
        self._faults[position] = error

    def load(self, tenant_id: UUID, id: UUID, first_position: int, position: int, row: bytes) -> None:
        """A row as the table has it."""
        loaded = self.rows[tenant_id, id]
        if self._decode is None:
            self._decode = msgspec.json.Decoder(self.model.row).decode
        loaded.row = self._decode(row)
        loaded.content = row
        loaded.first_position = first_position
        loaded.position = position
        loaded.stored = True

    def apply(self, count: int) -> None:
        """Apply the next so many of the events taken."""
        project, holds = self.model.project, bool(self._streams)
        begin, self._applied = self._applied, self._applied + count
        for recorded, ids, own, touched in self._taken[begin : self._applied]:
            if own is None or holds:
                holds = self._apply_to_all(recorded, ids, touched if own is None else (own,)) or holds
                continue
            try:
                new = project(own.row, recorded)
            except Exception as error:  # noqa: BLE001 - a fault of one event must not stop the others
                self._park(recorded, ids, error)
                holds = True
                continue
            if new is not own.row:
                self._change(recorded.tenant_id, recorded.stream_id, own, new, recorded.position)

    def finish(self) -> Folded:
        """Apply what is left, and say what has become of the rows."""
        self.apply(len(self._taken))
        self._before = self._recent = {}
        return self._folded()

    def _apply_to_all(self, recorded: Recorded, ids: Sequence[UUID], touched: Sequence[Row]) -> bool:
        """Apply the event to these rows, or to none of them; whether it was parked."""
        fault = self._faults.get(recorded.position) if self._faults else None
        if fault is None and not self._streams.hold(recorded.tenant_id, recorded.stream_id, ids):
            try:
                project = self.model.project
                after = [project(row.row, recorded) for row in touched]
                if self._own_only:
                    _check_made(recorded, ids, touched, after)
            except Exception as error:  # noqa: BLE001 - a fault of one event must not stop the others
                fault = error
            else:
                for id, row, new in zip(ids, touched, after, strict=True):
                    if new is not row.row:
                        self._change(recorded.tenant_id, id, row, new, recorded.position)
                return False
        self._park(recorded, ids, fault)
        return True

    def _touch(self, key: RowKey, recorded: Recorded) -> Row:
        before = self._before.get(key) or self._recent.get(key)
        row = self.rows[key] = Row() if before is None else before.as_written()
        if (
            before is None
            and not self._looks_up_all
            and recorded.version == _FIRST_VERSION
            and key[1] == recorded.stream_id
        ):
            row.known = True  # Nobody else makes it, and nothing came before: the table cannot have it.
        return row

    def _park(self, recorded: Recorded, ids: Sequence[UUID], error: Exception | None) -> None:
        self._streams.add(recorded.tenant_id, recorded.stream_id, ids)
        text = "" if error is None else error_text(error)
        self._parked.append(Parked(recorded.tenant_id, recorded.stream_id, recorded.position, tuple(ids), text))

    def _change(self, tenant_id: UUID, id: UUID, row: Row, new: Any, position: int) -> None:
        if row.row is None:
            row.first_position = position
        elif self.model.keeps_history:
            self._closed.add(tenant_id, id, row.position, position, row.row, new, row.content)
        row.row = new
        row.content = None
        row.position = position
        row.changed = True

    def _folded(self) -> Folded:
        folded = Folded(closed=self._closed, parked=self._parked)
        columns = [column.of for column in self.model.columns]
        for (tenant_id, id), row in self.rows.items():
            if not row.changed:
                continue
            if row.row is None:
                if row.stored:
                    folded.gone.append((tenant_id, id))
                continue
            values = [of(row.row) for of in columns]
            record = (tenant_id, id, row.first_position, row.position, *values, row.encoded())
            (folded.changed if row.stored else folded.added).append(record)
        return folded


def _check_made(recorded: Recorded, ids: Sequence[UUID], before: Sequence[Row], after: Sequence[Any]) -> None:
    """Raises NotItsOwn: rows of such ids are taken not to exist before their own stream does."""
    for id, row, new in zip(ids, before, after, strict=True):
        if row.row is None and new is not None and id != recorded.stream_id:
            raise NotItsOwn(str(id))
