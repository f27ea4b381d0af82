"""How far the read models have come, as far as this process has heard, and whoever waits for more."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Iterable

Waiter = tuple[int, int, frozenset[str], asyncio.Future[None]]


class Progress:
    """Positions by kind. Whatever moves a read model, or hears of it, calls `advance`."""

    def __init__(self) -> None:
        self._positions: dict[str, int] = {}
        # Up to where all of several kinds have come, until one of them moves.
        self._together: dict[frozenset[str], int] = {}
        self._waiting: list[Waiter] = []
        self._numbers = itertools.count()

    def advance(self, kinds: Iterable[str], position: int) -> None:
        """These kinds have come this far."""
        for kind in kinds:
            if self._positions.get(kind, 0) < position:
                self._positions[kind] = position
        self._together.clear()
        self._wake(position)

    def correct(self, positions: dict[str, int]) -> None:
        """What the database itself says, which may be less than was heard after it has lost its last moment."""
        self._positions = dict(positions)
        self._together.clear()
        self._wake(max(positions.values(), default=0))

    def forget(self) -> None:
        """Nothing that was heard holds any more: the server is away, and may come back without its last moment."""
        self._positions.clear()
        self._together.clear()

    def interrupt(self) -> None:
        """Other kinds are served from now on: everybody who waits is to look which."""
        for _, _, _, future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    def has_reached(self, kinds: frozenset[str], position: int) -> bool:
        """Whether all of these kinds have come this far."""
        together = self._together.get(kinds)
        if together is None:
            together = min((self._positions.get(kind, 0) for kind in kinds), default=position)
            if kinds:
                self._together[kinds] = together
        return together >= position

    async def reached(self, kinds: frozenset[str], position: int, *, seconds_max: float) -> bool:
        """Return True as soon as all of the kinds have come this far; False when the wait ran out or was interrupted."""
        if self.has_reached(kinds, position):
            return True
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        heapq.heappush(self._waiting, (position, next(self._numbers), kinds, future))
        # Not asyncio.timeout, which does more, for each of many that wait at the same time.
        enough = loop.call_later(seconds_max, _give_up, future)
        try:
            await future
        finally:
            enough.cancel()
        return self.has_reached(kinds, position)

    def _wake(self, position: int) -> None:
        """Only those who wait for this position or less can have what they wait for."""
        still: list[Waiter] = []
        while self._waiting and self._waiting[0][0] <= position:
            waiter = heapq.heappop(self._waiting)
            wanted, _, kinds, future = waiter
            if future.done():
                continue
            if self.has_reached(kinds, wanted):
                future.set_result(None)
            else:
                still.append(waiter)
        for waiter in still:
            heapq.heappush(self._waiting, waiter)


def _give_up(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
