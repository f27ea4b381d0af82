"""Batches of the log: as large as the backlog asks for, and the next one read while this one is worked on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from eventstore.log import Log, StoredEvent

BATCH_EVENTS_MAX = 5_000
# Where many events are of no interest to anybody, a batch passes over more positions than it has events. Not over any
# number of them: where that ends, and all are wanted again, one batch gets them all.
_POSITIONS_AN_EVENT_MAX = 2
# Events may be large; batches are kept near this size.
BATCH_BYTES_WANTED = 8_000_000
_FIRST_EVENTS = 500
# One in so many tells well enough how large they are.
_LOOKED_AT = 8

# After which position, how many, and without which types.
_Stretch = tuple[int, int, Sequence[str]]


class Feed:
    """Reads the log in order."""

    def __init__(self, log: Log, *, batch_events_max: int = BATCH_EVENTS_MAX) -> None:
        self._log = log
        self._events_max = batch_events_max
        self._size = min(_FIRST_EVENTS, batch_events_max)
        self._ahead: tuple[_Stretch, asyncio.Task[list[StoredEvent]]] | None = None

    async def read(self, after: int, *, up_to: int | None, without: Sequence[str] = ()) -> list[StoredEvent]:
        """The events that follow `after`, none beyond `up_to`; none at all: there are none yet. Of the types in
        `without` there is at most the last."""
        limit = self._size if up_to is None else min(self._size, up_to - after)
        events = await self._read((after, limit, without))
        if limit == self._size and events and events[-1].position == after + limit:
            self._adapt(events)
            if up_to is None:
                self._read_ahead((events[-1].position, self._size, without))
        return events

    @property
    def has_more(self) -> bool:
        """Whether there was a backlog the last time, so that more is being read."""
        return self._ahead is not None

    async def close(self) -> None:
        """Drop what was read ahead."""
        if self._ahead is None:
            return
        task, self._ahead = self._ahead[1], None
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task

    async def _read(self, stretch: _Stretch) -> list[StoredEvent]:
        if self._ahead is not None and self._ahead[0] == stretch:
            task, self._ahead = self._ahead[1], None
            return await task
        await self.close()
        return await self._ask(stretch)

    async def _ask(self, stretch: _Stretch) -> list[StoredEvent]:
        after, limit, without = stretch
        return await self._log.skim(after, limit=limit, without=without)

    def _adapt(self, events: list[StoredEvent]) -> None:
        size_bytes = sum(len(event.data) + len(event.meta) for event in events[::_LOOKED_AT]) * _LOOKED_AT
        if size_bytes > BATCH_BYTES_WANTED:
            self._size = max(1, self._size // 2)
        elif size_bytes < BATCH_BYTES_WANTED // 2:
            as_dense = self._size * self._events_max // len(events)
            self._size = max(1, min(2 * self._size, as_dense, _POSITIONS_AN_EVENT_MAX * self._events_max))

    def _read_ahead(self, stretch: _Stretch) -> None:
        self._ahead = (stretch, asyncio.create_task(self._ask(stretch)))
