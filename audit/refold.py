"""A read model folded again, one event at a time, in memory: the plainest way there is, to compare the real ones with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec

from eventstore.codec import Codec, tag_of
from eventstore.log import StoredEvent
from projections.read_model import AnyModel, RowKey
from projections.recorded import Recorded
from projections.row_changes import kept

_encode = msgspec.json.Encoder().encode


class Version(msgspec.Struct, frozen=True):
    """A row as it stood from one position up to, not including, another (None: it still stands). One that does not is
    `kept` in the history as these bytes."""

    valid_from: int
    valid_to: int | None
    raw: bytes
    kept: bytes = b""


class Refolded(msgspec.Struct):
    """A row being folded. None: it is not there, or not any more."""

    row: Any = None
    first_position: int = 0
    position: int = 0


class Refold:
    """Folds the rows that are wanted; what cannot be folded is held back, with all that follows in its stream, as the
    engine holds it back."""

    def __init__(
        self, model: AnyModel, codec: Codec, wanted: Callable[[RowKey], bool], *, versions: bool = False
    ) -> None:
        self._model, self._codec, self._wanted = model, codec, wanted
        self._tags = frozenset(tag_of(event) for event in model.interests)
        self._keeps_versions = versions and model.keeps_history
        self._held_streams: set[RowKey] = set()
        self.held: dict[RowKey, str] = {}
        self._rows: dict[RowKey, Refolded] = {}
        self.versions: dict[RowKey, list[Version]] = {}

    @property
    def rows(self) -> dict[RowKey, Refolded]:
        """What stands after the events taken."""
        return {key: row for key, row in self._rows.items() if row.row is not None}

    def take(self, stored: StoredEvent) -> None:
        """The next event of the log."""
        if stored.type not in self._tags:
            return
        stream = (stored.tenant_id, stored.stream_id)
        try:
            recorded = recorded_of(stored, self._codec)
            keys = [(stored.tenant_id, id) for id in self._model.keys(recorded)]
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one event is a finding about it
            self._hold(stream, [], error, stored.position)
            return
        wanted = [key for key in keys if self._wanted(key)]
        if stream in self._held_streams or any(key in self.held for key in wanted):
            self._hold(stream, wanted, None, stored.position)
            return
        try:
            after = [self._model.project(self._present(key), recorded) for key in wanted]
        except Exception as error:  # noqa: BLE001 - as above
            self._hold(stream, wanted, error, stored.position)
            return
        for key, row in zip(wanted, after, strict=True):
            self._change(key, row, stored.position)

    def _present(self, key: RowKey) -> Any:
        row = self._rows.get(key)
        return None if row is None else row.row

    def _hold(self, stream: RowKey, keys: list[RowKey], error: Exception | None, position: int) -> None:
        self._held_streams.add(stream)
        reason = "an event before it" if error is None else f"{type(error).__name__} at {position}: {error}"
        for key in keys or [stream]:
            self.held.setdefault(key, reason)

    def _change(self, key: RowKey, after: Any, position: int) -> None:
        row = self._rows.setdefault(key, Refolded())
        if after is row.row:
            return
        if self._keeps_versions:
            self._turn_page(key, after, position)
        if row.row is None:
            row.first_position = position
        row.row, row.position = after, position

    def _turn_page(self, key: RowKey, after: Any, position: int) -> None:
        versions = self.versions.setdefault(key, [])
        if versions and versions[-1].valid_to is None:
            last = versions[-1]
            past = kept(last.valid_from, self._present(key), after, last.raw)
            versions[-1] = msgspec.structs.replace(last, valid_to=position, kept=past)
        if after is not None:
            versions.append(Version(position, None, _encode(after)))


def recorded_of(stored: StoredEvent, codec: Codec) -> Recorded:
    """The event as read models see it. Raises UnknownEventType or UnreadableEvent."""
    return Recorded(
        codec.decode(stored),
        stored.tenant_id,
        stored.stream_id,
        stored.version,
        stored.position,
        stored.recorded_at,
        stored.meta,
    )


def lane_of(id: UUID, lanes: int) -> int:
    """Which of so many parts (at most 256) a row is in: by its id's last byte, the most random one."""
    return id.bytes[15] % lanes
