"""Calls made at once: all have ended when the verb goes on, whatever became of one."""

from __future__ import annotations

import asyncio

import pytest

from providers.together import together


async def test_answers_in_order() -> None:
    async def answer(number: int) -> int:
        await asyncio.sleep(0.01 / (number + 1))
        return number

    assert await together(*map(answer, range(7))) == tuple(range(7))


async def test_raises_the_first_failure_only_when_nothing_is_under_way_any_more() -> None:
    ended = []

    async def slow() -> None:
        await asyncio.sleep(0.05)
        ended.append("slow")

    async def fails(word: str) -> None:
        raise ValueError(word)

    with pytest.raises(ValueError, match="one"):
        await together(slow(), fails("one"), fails("other"), slow())

    assert ended == ["slow", "slow"]


async def test_given_up_gives_all_of_them_up() -> None:
    gone = []

    async def for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            gone.append("gone")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await together(for_ever(), for_ever())

    assert gone == ["gone", "gone"]
