"""Rivals for one stream: inside one process they take turns and all succeed, and so do processes."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import pytest

from commands.basis import fold
from commands.command import Command
from commands.execute import Done, TooMuchContention, execute
from domain.function import FUNCTION
from domain.project import PROJECT
from domain.refusal import PreconditionFailed, Refusal
from eventstore import turns
from eventstore.database import connect
from eventstore.log import Append, Log, News, Outcome, Since
from eventstore.memory import MemoryLog
from eventstore.postgres import PostgresLog
from tests.commands import hot_stream
from tests.commands.test_execute import clock, context, record
from tests.support import a

RIVALS = 50
FUNCTION_STREAM = FUNCTION.stream(a.TENANT_ID, a.FUNCTION_ID)
PROJECT_STREAM = PROJECT.stream(a.TENANT_ID, a.PROJECT_ID)


class DistantLog(MemoryLog):
    """A log whose answers take a while, so that others get in between."""

    async def load_since(self, known: Sequence[Since], *, epoch: int, worth: int) -> list[News]:
        news = await super().load_since(known, epoch=epoch, worth=worth)
        await asyncio.sleep(0)
        return news

    async def append(self, append: Append) -> Outcome:
        await asyncio.sleep(0)
        outcome = await super().append(append)
        await asyncio.sleep(0)
        return outcome


@pytest.fixture
async def postgres(database_url: str) -> AsyncIterator[PostgresLog]:
    async with AsyncExitStack() as exits:
        yield await process(exits, database_url)


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> Log:
    if request.param == "memory":
        return DistantLog(clock)
    in_postgres: Log = request.getfixturevalue("postgres")
    return in_postgres


@pytest.fixture
async def log(store: Log) -> Log:
    """A log that knows a function ready to be deployed."""
    await record(store, *a.function_ready())
    return store


async def process(exits: AsyncExitStack, url: str) -> PostgresLog:
    """The log as one process has it."""
    database = await exits.enter_async_context(connect(url, role="dcf_engine", size_max=8))
    return await exits.enter_async_context(PostgresLog(database, url, role="dcf_engine"))


async def race(log: Log, commands: Sequence[Command], *, first_id: int = 1) -> list[Done | BaseException]:
    """What came of each, all asked at once."""
    asked = (execute(log, command, context(number)) for number, command in enumerate(commands, start=first_id))
    async with asyncio.timeout(60):
        return await asyncio.gather(*asked, return_exceptions=True)


def updates(number: int, by: str = "one process") -> list[Command]:
    """Each changes something."""
    return [a.update_function(description=f"number {n} of {by}") for n in range(number)]


def done(outcomes: Sequence[Done | BaseException]) -> list[Done]:
    assert [outcome for outcome in outcomes if not isinstance(outcome, Done)] == []
    return [outcome for outcome in outcomes if isinstance(outcome, Done)]


class TestOneProcess:
    async def test_all_rivals_for_one_stream_succeed(self, log: Log) -> None:
        [before] = await log.load([FUNCTION_STREAM])

        outcomes = done(await race(log, updates(RIVALS)))

        [after] = await log.load([FUNCTION_STREAM])
        assert len(after) - len(before) == RIVALS
        assert sorted(outcome.last_position for outcome in outcomes) == [
            event.position for event in after[len(before) :]
        ]
        assert not log.turns.wanted(FUNCTION_STREAM)

    async def test_whoever_comes_while_others_wait_takes_their_turn(self, log: Log) -> None:
        """*Goal:* newcomers must not overtake those who wait, over and over. *Method:* waves of rivals, one after another."""

        async def wave(number: int) -> list[Done | BaseException]:
            for _ in range(3 * number):
                await asyncio.sleep(0)
            commands = [a.update_function(description=f"{number} {n}") for n in range(5)]
            return await race(log, commands, first_id=100 * (number + 1))

        outcomes = await asyncio.gather(*(wave(number) for number in range(10)))

        done([outcome for some in outcomes for outcome in some])

    async def test_of_many_streams_none_waits_for_ever(self, log: Log) -> None:
        """*Method:* commands that write one, two or three streams of the same few, in every order they come."""
        deployments = [a.id_of(200 + n) for n in range(8)]
        commands: list[Command] = []
        for n, deployment_id in enumerate(deployments):
            commands += [
                a.queue_deployment(deployment_id=deployment_id),
                a.update_function(description=f"number {n}"),
                a.cancel_deployment(deployment_id=deployment_id),
                a.rename_project(name=f"Shop {n}"),
            ]

        outcomes = await race(log, commands)

        unexpected = [o for o in outcomes if not isinstance(o, Done | Refusal) or isinstance(o, TooMuchContention)]
        assert unexpected == []
        function = await fold(log, FUNCTION, FUNCTION_STREAM)
        assert function.deployments_requested == sum(isinstance(outcome, Done) for outcome in outcomes[::4])

    async def test_a_stream_that_is_only_read_may_move_as_often_as_it_likes(self, log: Log) -> None:
        commands: list[Command] = []
        for n in range(12):
            commands += [a.rename_project(name=f"Shop {n}"), a.update_function(a.PROJECT_ID, description=f"number {n}")]

        done(await race(log, commands))

    async def test_one_that_was_read_last_is_updated_once(self, log: Log) -> None:
        """If-Match of the same position by all: the first wins, and the others are told."""
        [events] = await log.load([FUNCTION_STREAM])
        condition = (FUNCTION_STREAM, (events[-1].position,))

        outcomes = await asyncio.gather(
            *(execute(log, u, context(n, if_position=condition)) for n, u in enumerate(updates(10), start=1)),
            return_exceptions=True,
        )

        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Done"] + ["PreconditionFailed"] * 9
        assert isinstance(next(o for o in outcomes if not isinstance(o, Done)), PreconditionFailed)

    async def test_a_command_sent_twice_meanwhile_is_recorded_once(self, log: Log) -> None:
        [before] = await log.load([FUNCTION_STREAM])
        commands = updates(10)

        outcomes = await asyncio.gather(
            *(execute(log, u, context(n)) for _ in range(3) for n, u in enumerate(commands, start=1))
        )

        [after] = await log.load([FUNCTION_STREAM])
        assert len(after) - len(before) == 10
        assert sum(not outcome.repeated for outcome in outcomes) == 10

    async def test_those_who_find_too_many_before_them_are_told_to_come_again(
        self, log: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(turns, "QUEUE_MAX", 3)
        [before] = await log.load([FUNCTION_STREAM])

        outcomes = await race(log, updates(RIVALS))

        refused = [outcome for outcome in outcomes if isinstance(outcome, TooMuchContention)]
        assert len(refused) > 0
        assert all(refusal.retry_after_seconds > 0 for refusal in refused)
        [after] = await log.load([FUNCTION_STREAM])
        assert len(after) - len(before) == RIVALS - len(refused)


async def test_between_processes_nobody_is_told_of_contention(database_url: str) -> None:
    """*Goal:* rivals of several processes all come to their turn. *Method:* four logs, each a process's."""
    async with AsyncExitStack() as exits:
        processes = [await process(exits, database_url) for _ in range(4)]
        await record(processes[0], *a.function_ready())
        [before] = await processes[0].load([FUNCTION_STREAM])

        raced = [race(log, updates(10, by=f"process {n}"), first_id=100 * (n + 1)) for n, log in enumerate(processes)]
        outcomes = [outcome for some in await asyncio.gather(*raced) for outcome in some]

        recorded = done(outcomes)
        [after] = await processes[0].load([FUNCTION_STREAM])
        assert len(after) - len(before) == len(recorded) == 40


@pytest.mark.proof
async def test_four_processes_of_thirty_two_callers_on_one_stream(database_url: str) -> None:
    """*Goal:* nobody is told of contention, and nobody waits for as long as five seconds. *Method:* real processes, whose
    callers ask again and again for five seconds."""
    async with AsyncExitStack() as exits:
        log = await process(exits, database_url)
        await record(log, *a.function_ready())
        [before] = await log.load([FUNCTION_STREAM])

        running = [await _hot_stream(exits, database_url, number) for number in range(1, 5)]
        told = [json.loads(out) for out, _ in await asyncio.gather(*(one.communicate() for one in running))]

        [after] = await log.load([FUNCTION_STREAM])
        assert [one["refused"] for one in told] == [0, 0, 0, 0]
        done = sum(one["done"] for one in told)
        # On a machine so slow that all of them together need more than half a second for one each: eight times that.
        round_seconds = 4 * hot_stream.CALLERS * hot_stream.SECONDS / done
        assert max(one["longest"] for one in told) < max(5.0, 8 * round_seconds)
        assert len(after) - len(before) == done


async def _hot_stream(exits: AsyncExitStack, url: str, number: int) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", "tests.commands.hot_stream", url, str(number)]
    started = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    exits.callback(_end, started)
    return started


def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
