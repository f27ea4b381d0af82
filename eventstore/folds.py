"""Streams folded to where they stand, by reading only what is new: this process remembers, and the store keeps snapshots."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import msgspec
import structlog

from domain.event import Aggregate, StreamRef
from eventstore.codec import Codec
from eventstore.log import NO_STREAM, EpochChanged, News, Since, Snapshot, StoredEvent

# What one process remembers at most. A state is taken to be as large as it is encoded, and the events since then.
STREAMS_MAX = 10_000
BYTES_MAX = 64_000_000
# Reading fewer events than this costs less than a snapshot.
SNAPSHOT_EVENTS = 100
SNAPSHOT_BYTES_MAX = 1_000_000
# Snapshots that wait to be kept; while so many wait, further ones are left for the next time.
SNAPSHOTS_WAITING_MAX = 100
# What the log did not confirm for so long is asked for before anything is decided by it.
RECENT_SECONDS_MAX = 10.0
# An epoch changes when a store is restored; in the middle of a load it may do so once.
EPOCHS_MAX = 3

Wanted = Sequence[tuple[Aggregate[Any], StreamRef]]


class Folded(msgspec.Struct, frozen=True, gc=False):
    """A stream's state as of `version`, which stands at `position`; both 0 when nothing was ever recorded."""

    state: Any
    version: int
    position: int


class Confirmed(msgspec.Struct, frozen=True, gc=False):
    """What the log said of a stream when it took an append: that it stood at `version`, and now has `events` above that."""

    aggregate: Aggregate[Any]
    stream: StreamRef
    version: int
    events: list[StoredEvent]


class Source(Protocol):
    """What is asked of the log behind this."""

    async def load_since(self, known: Sequence[Since], *, epoch: int, worth: int) -> list[News]: ...

    async def keep_snapshot(self, snapshot: Snapshot, *, epoch: int) -> None: ...


class _Known(msgspec.Struct, gc=False):
    """`kept` is the version of the newest snapshot there is; `confirmed` when the log last said that it was so."""

    folded: Folded
    size_bytes: int
    kept: int
    confirmed: float = -math.inf


class Folds:
    """One for each log object. A state handed out is shared: nobody may change it.

    What is remembered may be behind the log, never beside it: every load asks for what came since, and an append made
    from it is conditional on the version.
    """

    def __init__(self, log: Source, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._monotonic = monotonic
        self._epoch = 0
        self._forgotten = 0
        self._known: OrderedDict[StreamRef, _Known] = OrderedDict()
        self._bytes = 0
        self._waiting: dict[StreamRef, Snapshot] = {}
        self._keeper: asyncio.Task[None] | None = None

    async def of(self, codec: Codec, wanted: Wanted) -> list[Folded]:
        """Where each stream stands now, all read at one moment. Raises what reading raises, and what `codec` raises."""
        for _ in range(EPOCHS_MAX):
            try:
                return await self._caught_up(codec, wanted)
            except EpochChanged as changed:
                if self._epoch:  # The first time there is nothing to forget.
                    self.forget_all()
                self._epoch = changed.epoch
        raise AssertionError("the log's epoch changes all the time")

    def recent(self, stream: StreamRef) -> Folded | None:
        """Where the stream stood a moment ago, as far as this process knows.

        For decisions whose append is conditional on the version, and for whoever has just recorded something there and
        hears of what others record.
        """
        known = self._known.get(stream)
        if known is None or self._monotonic() - known.confirmed > RECENT_SECONDS_MAX:
            return None
        self._known.move_to_end(stream)
        return known.folded

    @property
    def forgotten(self) -> int:
        """How often everything was forgotten so far: what was asked before is not remembered any more."""
        return self._forgotten

    def confirm(self, codec: Codec, confirmed: Iterable[Confirmed], *, forgotten: int) -> None:
        """Remember what the log has just said, unless everything was forgotten since it was asked."""
        if forgotten != self._forgotten:
            return
        now = self._monotonic()
        for one in confirmed:
            known = self._known.get(one.stream) or _nothing(one.aggregate)
            if known.folded.version != one.version:
                continue
            known.confirmed = now
            if one.events:
                grown = _grown(codec, one.aggregate, known, News(one.events))
                self._remember(one.stream, self._with_snapshot(one.stream, codec.code, grown))

    def forget(self, stream: StreamRef) -> None:
        """What was remembered is not what is recorded."""
        if (known := self._known.pop(stream, None)) is not None:
            self._bytes -= known.size_bytes

    def forget_all(self) -> None:
        """The log may have lost its end, and something else may stand there."""
        self._forgotten += 1
        self._known.clear()
        self._waiting.clear()
        self._bytes = 0

    async def close(self) -> None:
        """Give up the snapshots that still wait."""
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper

    async def _caught_up(self, codec: Codec, wanted: Wanted, *, snapshots: bool = True) -> list[Folded]:
        epoch, forgotten = self._epoch, self._forgotten
        known = [self._known.get(stream) or _nothing(aggregate) for aggregate, stream in wanted]
        code = codec.code if snapshots else ""
        asked = [
            Since(stream, k.folded.version, k.folded.position, code)
            for (_, stream), k in zip(wanted, known, strict=True)
        ]
        news = await self._log.load_since(asked, epoch=epoch, worth=SNAPSHOT_EVENTS)
        try:
            found = [
                _grown(codec, aggregate, k, new) for (aggregate, _), k, new in zip(wanted, known, news, strict=True)
            ]
        except msgspec.MsgspecError as error:
            structlog.get_logger().error("snapshot_unreadable", reason=str(error))
            return await self._caught_up(codec, wanted, snapshots=False)
        for (_, stream), grown in zip(wanted, found, strict=True):
            if forgotten == self._forgotten:
                self._remember(stream, self._with_snapshot(stream, code, grown))
        return [grown.folded for grown in found]

    def _remember(self, stream: StreamRef, known: _Known) -> None:
        before = self._known.get(stream)
        if known.folded.version == NO_STREAM:
            return
        if before is not None and before.folded.version > known.folded.version:
            return  # Another load, begun later, was answered sooner.
        self.forget(stream)
        known.confirmed = self._monotonic()
        self._known[stream] = known
        self._bytes += known.size_bytes
        while len(self._known) > STREAMS_MAX or self._bytes > BYTES_MAX:
            self.forget(next(iter(self._known)))

    def _with_snapshot(self, stream: StreamRef, code: str, known: _Known) -> _Known:
        """The same; if it has grown enough since the last snapshot, another is going to be kept."""
        folded = known.folded
        if not code or folded.version - known.kept < SNAPSHOT_EVENTS:
            return known
        encoded = msgspec.json.encode(folded.state)
        if len(encoded) <= SNAPSHOT_BYTES_MAX and len(self._waiting) < SNAPSHOTS_WAITING_MAX:
            self._waiting[stream] = Snapshot(stream, code, folded.version, folded.position, encoded)
            if self._keeper is None or self._keeper.done():
                self._keeper = asyncio.create_task(self._keep(), name="log snapshots")
        return _Known(folded, len(encoded), kept=folded.version)

    async def _keep(self) -> None:
        """Off the path of whoever loaded; a snapshot that cannot be kept is no loss."""
        while self._waiting:
            snapshot = self._waiting.pop(next(iter(self._waiting)))
            try:
                await self._log.keep_snapshot(snapshot, epoch=self._epoch)
            except Exception as error:  # noqa: BLE001 -- whatever is wrong, commands go on without it
                structlog.get_logger().warning("snapshot_not_kept", reason=repr(error))


def _nothing(aggregate: Aggregate[Any]) -> _Known:
    return _Known(Folded(aggregate.initial, NO_STREAM, 0), 0, NO_STREAM)


def _grown(codec: Codec, aggregate: Aggregate[Any], known: _Known, news: News) -> _Known:
    """Raises msgspec.MsgspecError when the snapshot cannot be read."""
    folded, size, kept = known.folded, known.size_bytes, known.kept
    if news.snapshot is not None:
        state = msgspec.json.decode(news.snapshot.state, type=type(aggregate.initial))
        folded = Folded(state, news.snapshot.version, news.snapshot.position)
        size, kept = len(news.snapshot.state), news.snapshot.version
    if not news.events:
        return known if news.snapshot is None else _Known(folded, size, kept)
    state = folded.state
    for stored in news.events:
        state = aggregate.evolve(state, codec.decode(stored))
        size += len(stored.data)
    return _Known(Folded(state, news.events[-1].version, news.events[-1].position), size, kept)
