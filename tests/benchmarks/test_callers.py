"""Measurements have an answer of everybody who is measured, however slow the machine is."""

from __future__ import annotations

from functools import partial

from benchmarks.callers import run


async def test_a_measurement_without_time_asks_everybody_once() -> None:
    asked: list[int] = []

    async def ask(number: int) -> None:
        asked.append(number)

    found = await run([partial(ask, number) for number in range(256)], 0)

    assert asked == list(range(256))
    assert found.per_second > 0
