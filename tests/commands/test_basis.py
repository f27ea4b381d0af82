"""Decisions by memory: as if everything had been read, whoever else writes meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import pytest

from commands.basis import AGGREGATE_OF, CODEC, fold
from commands.command import Command
from commands.execute import decide_only, execute
from commands.progress import ClaimDeployment, RecordBundled
from domain.deployment import DEPLOYMENT
from domain.event import Fact
from domain.function import FUNCTION, FunctionIsArchived, FunctionIsLive
from domain.project import PROJECT
from domain.refusal import PreconditionFailed
from eventstore.log import Log, News, Since
from eventstore.memory import MemoryLog
from eventstore.postgres import PostgresLog
from tests.commands.test_contention import process
from tests.commands.test_execute import clock, context, do, record
from tests.support import a

FUNCTION_STREAM = FUNCTION.stream(a.TENANT_ID, a.FUNCTION_ID)


class CountingLog(MemoryLog):
    """A log that counts how many streams it was asked for."""

    def __init__(self) -> None:
        super().__init__(clock)
        self.loaded = self.questions = 0

    async def load_since(self, known: Sequence[Since], *, epoch: int, worth: int) -> list[News]:
        self.loaded += len(known)
        self.questions += 1
        return await super().load_since(known, epoch=epoch, worth=worth)


@pytest.fixture
async def log() -> CountingLog:
    """A log that knows a function ready to be deployed."""
    log = CountingLog()
    await record(log, *a.function_ready())
    return log


async def elsewhere(log: MemoryLog, *facts: Fact) -> None:
    """What another process records."""
    await record(log, *facts)


class TestMemory:
    async def test_asks_the_log_for_nothing_it_knows(self, log: CountingLog) -> None:
        await do(log, a.update_function(description="one"), 1)
        log.loaded = 0

        for number in range(2, 12):
            await do(log, a.update_function(description=str(number)), number)

        assert log.loaded == 0
        assert (await fold(log, FUNCTION, FUNCTION_STREAM)).revision == 12

    async def test_is_confirmed_all_at_once_when_nothing_is_recorded(self, log: CountingLog) -> None:
        await decide_only(log, a.queue_deployment())
        log.questions = 0

        await decide_only(log, a.queue_deployment())

        assert log.questions == 2  # What is known of the new deployment: nothing; and then all together.

    async def test_is_what_the_log_folds_to(self, log: CountingLog) -> None:
        """*Method:* the life of a deployment; whatever is known then is compared with what reading it all comes to."""
        story: list[Command] = [
            a.update_function(description="new", environment={"A": "1"}),
            a.queue_deployment(),
            a.report(ClaimDeployment),
            a.report(RecordBundled),
            a.cancel_deployment(),
            a.rename_project(name="Store"),
            a.update_function(name="Welcome"),
        ]

        for number, command in enumerate(story, start=1):
            await do(log, command, number)

        streams = [FUNCTION_STREAM, PROJECT.stream(a.TENANT_ID, a.PROJECT_ID)]
        streams.append(DEPLOYMENT.stream(a.TENANT_ID, a.DEPLOYMENT_ID))
        known = [log.folds.recent(stream) for stream in streams]
        log.folds.forget_all()
        wanted = [(AGGREGATE_OF[stream.category], stream) for stream in streams]
        assert known == await log.folds.of(CODEC, wanted)

    async def test_keeps_nothing_of_what_is_not_there(self, log: CountingLog) -> None:
        absent = FUNCTION.stream(a.TENANT_ID, a.OTHER_FUNCTION_ID)

        await fold(log, FUNCTION, absent)

        assert log.folds.recent(absent) is None


class TestAnotherProcess:
    async def test_that_archived_it_is_heard(self, log: CountingLog) -> None:
        await do(log, a.update_function(description="one"), 1)
        await elsewhere(log, a.function_archived())

        with pytest.raises(FunctionIsArchived):
            await do(log, a.update_function(description="two"), 2)

    async def test_that_made_it_possible_is_heard_before_anything_is_refused(self, log: CountingLog) -> None:
        await do(log, a.queue_deployment(), 1)
        with pytest.raises(FunctionIsLive):
            await do(log, a.archive_function(), 2)
        await elsewhere(log, a.deployment_ended())

        await do(log, a.archive_function(), 3)

        assert (await fold(log, FUNCTION, FUNCTION_STREAM)).archived

    async def test_that_changed_it_is_heard_by_if_match(self, log: CountingLog) -> None:
        done = await do(log, a.update_function(description="one"), 1)
        await elsewhere(log, a.function_updated(description="theirs"))
        theirs = await log.head()

        with pytest.raises(PreconditionFailed):
            await execute(
                log,
                a.update_function(description="b"),
                context(2, if_position=(FUNCTION_STREAM, (done.last_position,))),
            )
        await execute(log, a.update_function(description="c"), context(3, if_position=(FUNCTION_STREAM, (theirs,))))

    async def test_is_heard_by_what_is_only_asked_and_would_have_been_refused(self, log: CountingLog) -> None:
        await do(log, a.queue_deployment(), 1)
        with pytest.raises(FunctionIsLive):
            await decide_only(log, a.archive_function())
        await elsewhere(log, a.deployment_ended())

        states = await decide_only(log, a.archive_function())

        assert states.at(FUNCTION, FUNCTION_STREAM).archived

    async def test_is_heard_by_what_is_only_asked(self, log: CountingLog) -> None:
        await do(log, a.update_function(description="one"), 1)
        await elsewhere(log, a.function_archived())

        with pytest.raises(FunctionIsArchived):
            await decide_only(log, a.queue_deployment())


@pytest.fixture
async def two(database_url: str) -> AsyncIterator[tuple[Log, Log]]:
    """The log as two processes have it."""
    async with AsyncExitStack() as exits:
        yield await process(exits, database_url), await process(exits, database_url)


class TestTwoProcesses:
    async def test_that_update_one_function_in_turn_lose_nothing(self, two: tuple[PostgresLog, PostgresLog]) -> None:
        await record(two[0], *a.function_ready())

        for number in range(20):
            await execute(two[number % 2], a.update_function(description=str(number)), context(number + 1))

        for log in two:
            state = await fold(log, FUNCTION, FUNCTION_STREAM)
            assert (state.revision, state.authored.description) == (21, "19")
