"""An event loop whose time passes only by waiting: hours of waiting take no time, and every run is the same."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from tests.support.mortal import bury

T = TypeVar("T")

BEGINNING = datetime(2026, 3, 1, 12, tzinfo=UTC)


class NothingToWaitFor(Exception):
    """Every task waits for another one: in real time this would hang."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Its `time()` begins at 0."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self._now

    def pass_seconds(self, seconds: float) -> None:
        self._now += seconds


class _Jumping(selectors.DefaultSelector):
    """Instead of waiting, moves the loop's time to when something is due."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout == 0:
            return []  # Nothing comes from outside while there is something to do.
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise NothingToWaitFor
            self._loop.pass_seconds(max(timeout, 0.0))
        return ready


def seconds() -> float:
    """The time of the running loop."""
    return asyncio.get_running_loop().time()


def now() -> datetime:
    """The same as a date."""
    return BEGINNING + timedelta(seconds=seconds())


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in virtual time. Whatever still runs then is simply left off."""
    loop = VirtualTimeLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        bury()
        loop.close()
