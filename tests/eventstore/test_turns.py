"""Turns at streams: first come, first served; never in a circle; never for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from domain.event import StreamRef
from eventstore import turns as module
from eventstore.turns import TurnMissed, Turns
from tests.eventstore.make import a_stream


def soon(seconds: float = 5.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


class TestAt:
    async def test_lets_in_one_after_another_in_the_order_they_came(self) -> None:
        turns, stream, seen, inside = Turns(), a_stream(), [], 0

        async def take(number: int) -> None:
            nonlocal inside
            async with turns.at([stream], until=soon()):
                inside += 1
                assert inside == 1
                await asyncio.sleep(0)
                seen.append(number)
                inside -= 1

        await asyncio.gather(*(take(number) for number in range(20)))

        assert seen == list(range(20))
        assert not turns.wanted(stream)

    async def test_of_different_streams_do_not_wait_for_each_other(self) -> None:
        turns, one, other = Turns(), a_stream(), a_stream()

        async with turns.at([one], until=soon()), turns.at([other], until=soon()):
            assert turns.wanted(one)
            assert turns.wanted(other)

    async def test_of_several_streams_never_wait_in_a_circle(self) -> None:
        turns, streams = Turns(), [a_stream() for _ in range(4)]
        pairs: list[Sequence[StreamRef]] = [(a, b) for a in streams for b in streams if a != b]

        async def take(pair: Sequence[StreamRef]) -> None:
            async with turns.at(pair, until=soon()):
                await asyncio.sleep(0)

        await asyncio.gather(*(take(pair) for pair in pairs * 5))

        assert not any(turns.wanted(stream) for stream in streams)

    async def test_is_missed_when_it_takes_too_long_and_others_go_on(self) -> None:
        turns, one, other = Turns(), a_stream(), a_stream()

        async with turns.at([one], until=soon()):
            with pytest.raises(TurnMissed):
                async with turns.at([one, other], until=soon(0.01)):
                    pass

        assert not turns.wanted(one)
        assert not turns.wanted(other)

    async def test_is_missed_at_once_when_too_many_wait(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "QUEUE_MAX", 1)
        turns, stream = Turns(), a_stream()

        async with turns.at([stream], until=soon()):
            with pytest.raises(TurnMissed):
                async with turns.at([stream], until=soon()):
                    pass

    async def test_whoever_is_cancelled_leaves_the_queue_to_the_others(self) -> None:
        turns, stream, seen = Turns(), a_stream(), []

        async def take(number: int) -> None:
            async with turns.at([stream], until=soon()):
                seen.append(number)

        async with turns.at([stream], until=soon()):
            waiting = [asyncio.create_task(take(number)) for number in range(3)]
            await settle()
            waiting[0].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

        assert seen == [1, 2]
        assert not turns.wanted(stream)

    async def test_what_goes_wrong_inside_is_raised_and_ends_the_turn(self) -> None:
        turns, stream = Turns(), a_stream()

        with pytest.raises(TimeoutError, match="its own"):
            async with turns.at([stream], until=soon()):
                raise TimeoutError("its own")

        assert not turns.wanted(stream)


class TestIsOurs:
    def test_tells_what_this_process_wrote_from_what_others_did(self) -> None:
        turns, stream = Turns(), a_stream()

        turns.wrote(stream, 3)

        assert turns.is_ours(stream, 3)
        assert not turns.is_ours(stream, 4)
        assert not turns.is_ours(a_stream(), 0)

    def test_forgets_what_was_long_ago(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "WRITTEN_REMEMBERED_MAX", 2)
        turns, first = Turns(), a_stream()

        for stream in (first, a_stream(), a_stream()):
            turns.wrote(stream, 1)

        assert not turns.is_ours(first, 1)
