"""Processes that write one stream take turns in the database, first come, first served, and none can hold up the rest."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import pytest

from domain.event import StreamRef
from eventstore import rivals as module
from eventstore.rivals import Rivals
from eventstore.session import Session, sessions
from eventstore.turns import Turns
from tests.eventstore.make import a_stream

STREAM = a_stream()


@pytest.fixture
async def processes(database_url: str) -> AsyncIterator[list[Rivals]]:
    """Three, of which each has heard that the stream is fought over."""
    async with AsyncExitStack() as exits:
        made = [Rivals(sessions(database_url, role="dcf_app")) for _ in range(3)]
        for one in made:
            exits.callback(one.close)
            one.met(STREAM)
        yield made


async def _never() -> Session:
    raise AssertionError("a session was opened")


async def until(happened: asyncio.Event) -> None:
    async with asyncio.timeout(60):
        await happened.wait()


async def test_a_stream_nobody_fights_over_needs_no_session() -> None:
    assert not await Rivals(_never).take(STREAM)


async def test_come_to_their_turn_one_after_another(processes: list[Rivals]) -> None:
    first, second, third = processes
    assert await first.take(STREAM)
    came: list[str] = []

    async def come(name: str, process: Rivals) -> None:
        assert await process.take(STREAM)
        came.append(name)
        await process.leave(STREAM, waited_for=False)

    waiting = [asyncio.create_task(come("second", second)), asyncio.create_task(come("third", third))]
    done, _ = await asyncio.wait(waiting, timeout=0.1)
    assert not done

    await first.leave(STREAM, waited_for=False)
    async with asyncio.timeout(60):
        await asyncio.gather(*waiting)
    assert sorted(came) == ["second", "third"]


async def test_a_turn_is_kept_for_those_who_wait_in_the_same_process_but_not_for_long(
    processes: list[Rivals], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_SECONDS_MAX", 60.0)
    first = processes[0]
    assert await first.take(STREAM)

    await first.leave(STREAM, waited_for=True)
    assert not await first.take(STREAM)  # It has it still.

    monkeypatch.setattr(module, "KEPT_SECONDS_MAX", 0.0)
    await first.leave(STREAM, waited_for=True)
    assert await first.take(STREAM)


async def test_a_process_that_dies_gives_its_turn_back(processes: list[Rivals]) -> None:
    first, second, _ = processes
    assert await first.take(STREAM)

    first.close()

    async with asyncio.timeout(60):
        assert await second.take(STREAM)


async def test_one_that_does_not_go_on_loses_its_turn(processes: list[Rivals], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_MS_MAX", 50)
    first, second, _ = processes
    assert await first.take(STREAM)

    async with asyncio.timeout(60):
        assert await second.take(STREAM)

    await first.leave(STREAM, waited_for=False)
    await second.leave(STREAM, waited_for=False)
    async with asyncio.timeout(60):
        assert await first.take(STREAM)  # By another session.


async def test_whoever_waits_too_long_goes_without(processes: list[Rivals], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_MS_MAX", 50)
    first, second, _ = processes
    assert await first.take(STREAM)

    assert not await second.take(STREAM)


async def test_one_that_is_cancelled_while_it_waits_leaves_nothing_behind(processes: list[Rivals]) -> None:
    first, second, third = processes
    assert await first.take(STREAM)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await second.take(STREAM)

    await first.leave(STREAM, waited_for=False)

    async with asyncio.timeout(60):
        assert await third.take(STREAM)


async def test_a_server_that_is_away_is_no_hindrance() -> None:
    async def away() -> Session:
        raise ConnectionRefusedError

    rivals = Rivals(away)
    rivals.met(STREAM)

    async with Turns(rivals).at([STREAM], until=asyncio.get_running_loop().time() + 5) as others:
        assert not others


async def test_a_process_has_turns_at_several_streams_beside_each_other(processes: list[Rivals]) -> None:
    first, second, third = processes
    others = [a_stream() for _ in range(2)]
    for process, other in itertools.product(processes, others):
        process.met(other)
    assert await first.take(STREAM)
    assert await second.take(others[0])

    assert await first.take(others[1])
    waiting = asyncio.create_task(third.take(STREAM))
    done, _ = await asyncio.wait([waiting], timeout=0.1)
    assert not done
    await first.leave(STREAM, waited_for=False)

    async with asyncio.timeout(60):
        assert await waiting
    assert not await first.take(others[1])  # It has it still.


async def test_of_more_streams_than_it_may_have_sessions_for_the_last_goes_without(
    processes: list[Rivals], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STREAMS_MAX", 2)
    first, others = processes[0], [a_stream() for _ in range(2)]
    for other in others:
        first.met(other)
    assert await first.take(STREAM)
    assert await first.take(others[0])

    assert not await first.take(others[1])

    await first.leave(STREAM, waited_for=False)
    assert await first.take(others[1])


async def test_who_want_the_same_two_streams_do_not_wait_in_a_circle(processes: list[Rivals]) -> None:
    """*Method:* in every process callers want one, the other, or both, named in either order, again and again."""
    other = a_stream()
    for process in processes:
        process.met(other)
    turns = [Turns(process) for process in processes]
    had = 0

    async def want(of: Turns, streams: Sequence[StreamRef]) -> None:
        nonlocal had
        for _ in range(5):
            async with of.at(streams, until=asyncio.get_running_loop().time() + 20):
                await asyncio.sleep(0)
                had += 1

    wants = [[STREAM], [other], [STREAM, other], [other, STREAM]]
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*(want(of, streams) for of in turns for streams in wants))

    assert had == 5 * len(turns) * len(wants)
    assert asyncio.get_running_loop().time() - began < module.WAIT_MS_MAX / 1_000


async def test_the_others_are_told_that_a_stream_is_fought_over(database_url: str, processes: list[Rivals]) -> None:
    heard, told = Rivals(sessions(database_url, role="dcf_app")), asyncio.Event()

    def hear(_session: object, _pid: int, _channel: str, payload: object) -> None:
        heard.heard(str(payload))
        told.set()

    listener = await sessions(database_url, role="dcf_app")()
    try:
        await listener.add_listener(module.CHANNEL, hear)
        await processes[0].take(STREAM)
        await until(told)
    finally:
        await listener.close()

    assert Turns(heard).wanted(STREAM)
    assert not Turns(heard).wanted(a_stream())


async def test_of_fights_that_are_over_not_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED_MAX", 3)
    monkeypatch.setattr(module, "RIVALRY_SECONDS", 0.0)
    rivals = Rivals(_never)

    for number in range(20):
        rivals.heard(str(number))
        rivals.met(a_stream())
        await asyncio.sleep(0.001)

    assert len(rivals._fought_over) <= 4


async def test_a_fight_is_forgotten(processes: list[Rivals], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RIVALRY_SECONDS", 0.0)
    processes[0].met(STREAM)

    await asyncio.sleep(0.001)

    assert not processes[0].are_at(STREAM)
