"""Callers that ask one thing after another, many at once, for a given time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import msgspec

Ask = Callable[[], Awaitable[object]]


class Run(msgspec.Struct, frozen=True):
    """What came of one measurement: answers, in how many seconds, and how many each took."""

    seconds: float
    latencies: Sequence[float]

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds


async def run(askers: Sequence[Ask], seconds: float) -> Run:
    """Let each ask until the time is over, at least once; what is under way then is waited for and counted.

    Once at least, for a process that the machine stops for as long as a measurement lasts would have no answer at all.
    """
    latencies: list[float] = []
    began = time.perf_counter()
    end = began + seconds

    async def ask_on(ask: Ask) -> None:
        now = time.perf_counter()
        while True:
            await ask()
            before, now = now, time.perf_counter()
            latencies.append(now - before)
            if now >= end:
                return

    await asyncio.gather(*(ask_on(ask) for ask in askers))
    return Run(time.perf_counter() - began, latencies)
