"""Turns at streams that several callers of this process want to write at once: one after another, as they came."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from domain.event import StreamRef
from eventstore.rivals import Rivals

# Who finds so many before them is told to come again: the wait would be longer than callers have.
QUEUE_MAX = 1_000
WRITTEN_REMEMBERED_MAX = 10_000


class TurnMissed(Exception):
    """Too many wait for the stream, or for too long."""


class Turns:
    """Nobody takes a turn at a stream until rivals for it have met: without them there is nothing to wait for.

    Kept by one process for itself. Rivals in other processes meet in the log, where the second is overtaken; once they
    have, the processes take turns too.
    """

    def __init__(self, rivals: Rivals | None = None) -> None:
        self._rivals = rivals
        self._places: dict[StreamRef, _Place] = {}
        self._written: OrderedDict[StreamRef, int] = OrderedDict()

    def wanted(self, stream: StreamRef) -> bool:
        """Whether somebody has a turn at it, or waits for one, or another process wants to write it too."""
        return stream in self._places or (self._rivals is not None and self._rivals.are_at(stream))

    def met_rivals(self, stream: StreamRef) -> None:
        """Another process was quicker there, while this one went by what was newest."""
        if self._rivals is not None:
            self._rivals.met(stream)

    @asynccontextmanager
    async def at(self, streams: Iterable[StreamRef], *, until: float) -> AsyncIterator[Collection[StreamRef]]:
        """Wait for a turn at each of them, by the loop's clock at most `until` then, and have it for the block.

        Gives those that other processes had a turn at before: what is remembered of them may be old. Raises TurnMissed.

        Whoever holds some of them never waits for one that stands before these in the order of all streams, so no two
        can wait for each other: to take more, leave the block and enter another with all of them.
        """
        async with AsyncExitStack() as exits:
            try:
                async with asyncio.timeout_at(until):
                    others = {
                        stream
                        for stream in sorted(streams, key=_order)
                        if await exits.enter_async_context(self._one(stream))
                    }
            except TimeoutError:
                raise TurnMissed from None
            yield others

    def wrote(self, stream: StreamRef, version: int) -> None:
        """This process has recorded the stream's `version`."""
        self._written[stream] = version
        self._written.move_to_end(stream)
        if len(self._written) > WRITTEN_REMEMBERED_MAX:
            self._written.popitem(last=False)

    def is_ours(self, stream: StreamRef, version: int) -> bool:
        """Whether this process has recorded the stream's `version`, or a later one, not long ago."""
        return self._written.get(stream, -1) >= version

    @asynccontextmanager
    async def _one(self, stream: StreamRef) -> AsyncIterator[bool]:
        place = self._places.setdefault(stream, _Place())
        if place.callers >= QUEUE_MAX:
            raise TurnMissed
        place.callers += 1
        try:
            async with place.lock, self._between(stream, place) as is_new:
                yield is_new
        finally:
            place.callers -= 1
            if not place.callers:
                del self._places[stream]

    @asynccontextmanager
    async def _between(self, stream: StreamRef, place: _Place) -> AsyncIterator[bool]:
        """This process's turn among others; whether it has only just come to it."""
        if self._rivals is None:
            yield False
            return
        is_new = await self._rivals.take(stream)
        try:
            yield is_new
        finally:
            await self._rivals.leave(stream, waited_for=place.callers > 1)


class _Place:
    """Whoever has the turn has the lock, which is handed on in the order it was asked for."""

    __slots__ = ("callers", "lock")

    def __init__(self) -> None:
        self.callers = 0
        self.lock = asyncio.Lock()


def _order(stream: StreamRef) -> tuple[int, str, int]:
    return stream.tenant_id.int, stream.category, stream.id.int
