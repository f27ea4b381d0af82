"""What callers are told when the session breaks, the queue is full, a neighbour is bad, or they stop waiting."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from eventstore import waiting
from eventstore.appender import Appender
from eventstore.log import (
    Append,
    Appended,
    AppendRefused,
    Duplicate,
    LogBusy,
    Outcome,
    OutcomeUnknown,
    StoreUnavailable,
)
from eventstore.postgres import PostgresLog
from eventstore.session import OpenSession, sessions
from eventstore.waiting import Waiter, Waiting
from tests.eventstore.make import OTHER_TENANT, TENANT, a_claim, a_stream, an_append, an_event

TERMINATIONS = 4
TERMINATION_PAUSE_SECONDS = 0.2


class CutAfterCommit:
    """A session that is lost before it can bring the answer, as often as it is told to."""

    def __init__(self, session: Any, cuts: list[int]) -> None:
        self._session = session
        self._cuts = cuts

    async def fetchrow(self, *args: Any) -> Any:
        row = await self._session.fetchrow(*args)
        if self._cuts:
            self._cuts.pop()
            raise ConnectionResetError
        return row

    def is_closed(self) -> bool:
        return bool(self._session.is_closed())

    def terminate(self) -> None:
        self._session.terminate()


def cutting(url: str, cuts: int) -> OpenSession:
    """Opens sessions of which the first `cuts` are lost after their first commit."""
    left = list(range(cuts))
    open_session = sessions(url, role="dcf_app")

    async def opened() -> Any:
        return CutAfterCommit(await open_session(), left)

    return opened


async def unreachable() -> Any:
    raise ConnectionRefusedError("nobody there")


@asynccontextmanager
async def appending(open_session: OpenSession, *, resend_seconds_max: float = 10.0) -> AsyncIterator[Appender]:
    async with Appender(
        open_session, advanced=lambda _position: None, resend_seconds_max=resend_seconds_max
    ) as appender:
        yield appender


class TestLostSession:
    async def test_an_append_whose_answer_was_lost_is_recorded_once(
        self, database_url: str, postgres_log: PostgresLog
    ) -> None:
        appends = [an_append(an_event(a_stream())) for _ in range(20)]

        async with appending(cutting(database_url, 2)) as appender:
            outcomes = await asyncio.gather(*(appender.append(append) for append in appends))

        assert all(isinstance(outcome, Appended) for outcome in outcomes)
        assert await postgres_log.head() == 20

    async def test_what_was_recorded_earlier_stays_a_duplicate(self, database_url: str) -> None:
        append = an_append(an_event(a_stream()))
        async with appending(sessions(database_url, role="dcf_app")) as appender:
            await appender.append(append)
            await appender.append(an_append(an_event(a_stream())))

        async with appending(cutting(database_url, 0)) as appender:
            assert isinstance(await appender.append(append), Duplicate)

    async def test_an_answer_that_never_comes_is_unknown(self, database_url: str) -> None:
        async with appending(cutting(database_url, 1_000), resend_seconds_max=0.1) as appender:
            with pytest.raises(OutcomeUnknown):
                await appender.append(an_append(an_event(a_stream())))

    async def test_what_could_not_be_sent_at_all_may_come_again(self) -> None:
        async with appending(unreachable, resend_seconds_max=0.05) as appender:
            with pytest.raises(StoreUnavailable):
                await appender.append(an_append(an_event(a_stream())))

    async def test_terminated_sessions_lose_and_repeat_nothing(
        self, database_url: str, postgres_log: PostgresLog
    ) -> None:
        terminating = asyncio.create_task(terminate_often(database_url))

        outcomes: list[Outcome] = []
        while not terminating.done():
            outcomes += await asyncio.gather(*(postgres_log.append(an_append(an_event(a_stream()))) for _ in range(10)))

        told = sorted(outcome.first_position for outcome in outcomes if isinstance(outcome, Appended))
        assert told == list(range(1, len(outcomes) + 1))
        assert await postgres_log.wait_beyond(len(outcomes) - 1, seconds_max=60)


async def terminate_often(url: str) -> None:
    connection = await asyncpg.connect(url)
    for _ in range(TERMINATIONS):
        await asyncio.sleep(TERMINATION_PAUSE_SECONDS)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'dcf log'"
        )
    await connection.close()


class TestBadNeighbour:
    async def test_an_append_postgresql_refuses_fails_alone(self, postgres_log: PostgresLog) -> None:
        """*Method:* a schema version no smallint holds gets past our own limits."""
        stream = a_stream()
        bad = an_append(msgspec.structs.replace(an_event(stream), schema_version=40_000))
        good = [an_append(an_event(a_stream())) for _ in range(20)]

        results = await asyncio.gather(
            *(postgres_log.append(append) for append in [*good[:7], bad, *good[7:]]), return_exceptions=True
        )

        assert isinstance(results.pop(7), AppendRefused)
        assert all(isinstance(result, Appended) for result in results)
        assert await postgres_log.load([stream]) == [[]]

    @pytest.mark.parametrize("part", ["type", "category", "key", "outcome"])
    async def test_text_that_is_no_utf8_fails_alone(self, postgres_log: PostgresLog, part: str) -> None:
        """*Method:* half of a surrogate pair, which Python has and no encoding takes."""
        stream, half = a_stream(), "\ud800"
        event = an_event(msgspec.structs.replace(stream, category=half) if part == "category" else stream)
        claims = (a_claim(half, stream.id),) if part == "key" else ()
        bad = an_append(msgspec.structs.replace(event, type=half) if part == "type" else event, claims=claims)
        bad = msgspec.structs.replace(bad, outcome=half) if part == "outcome" else bad
        good = [an_append(an_event(a_stream())) for _ in range(8)]

        results = await asyncio.gather(
            *(postgres_log.append(append) for append in [*good[:4], bad, *good[4:]]), return_exceptions=True
        )

        assert isinstance(results.pop(4), AppendRefused)
        assert all(isinstance(result, Appended) for result in results)
        with pytest.raises(AppendRefused):
            await postgres_log.append(bad)
        assert await postgres_log.head() == len(good)

    async def test_alone_it_is_refused_too(self, postgres_log: PostgresLog) -> None:
        with pytest.raises(AppendRefused):
            await postgres_log.append(an_append(an_event(a_stream(), 2**40)))

    async def test_a_schema_that_is_not_ours_is_no_fault_of_the_caller(
        self, database_url: str, postgres_log: PostgresLog
    ) -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute("ALTER FUNCTION log.append_one RENAME TO append_one_of_later")
        await connection.close()

        with pytest.raises(OutcomeUnknown):
            await postgres_log.append(an_append(an_event(a_stream())))


class TestCancelledCaller:
    async def test_before_its_batch_is_sent_nothing_is_recorded(self, postgres_log: PostgresLog) -> None:
        caller = asyncio.create_task(postgres_log.append(an_append(an_event(a_stream()))))
        kept = asyncio.create_task(postgres_log.append(an_append(an_event(a_stream()))))
        await asyncio.sleep(0)

        caller.cancel()

        assert isinstance(await kept, Appended)
        assert await postgres_log.head() == 1

    async def test_later_the_log_keeps_the_truth(self, database_url: str, postgres_log: PostgresLog) -> None:
        append = an_append(an_event(a_stream()))
        async with hold_the_lock(database_url):
            caller = asyncio.create_task(postgres_log.append(append))
            await until_waiting_for_the_lock(database_url)
            caller.cancel()

        assert await postgres_log.wait_beyond(0, seconds_max=60)
        assert await postgres_log.find(TENANT, append.command_id) is not None


class TestADeadHolder:
    async def test_of_the_logs_lock_keeps_nobody_waiting(self, database_url: str, postgres_log: PostgresLog) -> None:
        """*Method:* a process takes the lock that appends take, and is killed with it in its hand."""
        holder = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _HOLD, database_url, stdout=asyncio.subprocess.PIPE
        )
        assert holder.stdout is not None
        await holder.stdout.readline()
        caller = asyncio.create_task(postgres_log.append(an_append(an_event(a_stream()))))
        await until_waiting_for_the_lock(database_url)
        holder.kill()
        await holder.wait()

        async with asyncio.timeout(60):
            assert isinstance(await caller, Appended)


_HOLD = """
import sys, time, psycopg
connection = psycopg.connect(sys.argv[1])
connection.execute("SELECT pg_advisory_xact_lock(4919, 1)")
print(flush=True)
time.sleep(60)
"""


@asynccontextmanager
async def hold_the_lock(url: str) -> AsyncIterator[None]:
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(4919, 1)")
        yield
    await connection.close()


async def until_waiting_for_the_lock(url: str) -> None:
    connection = await asyncpg.connect(url)
    while not await connection.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
        await asyncio.sleep(0.01)
    await connection.close()


class TestClosing:
    async def test_what_waits_is_written_first(self, database_url: str, postgres_log: PostgresLog) -> None:
        async with appending(sessions(database_url, role="dcf_app")) as appender:
            callers = [asyncio.create_task(appender.append(an_append(an_event(a_stream())))) for _ in range(10)]
            await asyncio.sleep(0)

        assert [type(outcome) for outcome in await asyncio.gather(*callers)] == [Appended] * 10
        with pytest.raises(LogBusy):
            await appender.append(an_append())


class TestFlood:
    async def test_of_one_tenant_does_not_hold_up_anothers_single_command(self, postgres_log: PostgresLog) -> None:
        settled = 0

        async def flood() -> None:
            nonlocal settled
            await postgres_log.append(an_append(an_event(a_stream())))
            settled += 1

        callers = [asyncio.create_task(flood()) for _ in range(waiting.TENANT_WAITING_MAX)]
        await asyncio.sleep(0)
        one = an_append(an_event(a_stream(OTHER_TENANT)), tenant_id=OTHER_TENANT)

        outcome = await postgres_log.append(one)

        # It waited for what was being written when it came, and then was among the next.
        assert isinstance(outcome, Appended)
        assert settled <= 3 * waiting.BATCH_APPENDS_MAX
        await asyncio.gather(*callers)


class TestWaiting:
    async def test_tenants_take_turns(self) -> None:
        queue = Waiting()
        for _ in range(2 * waiting.BATCH_APPENDS_MAX):
            queue.put(a_waiter(TENANT))
        queue.put(a_waiter(OTHER_TENANT))

        batch = queue.take()

        assert [w.append.tenant_id for w in batch[:3]] == [TENANT, OTHER_TENANT, TENANT]
        assert len(batch) == waiting.BATCH_APPENDS_MAX

    async def test_order_within_a_tenant_is_kept(self) -> None:
        queue = Waiting()
        waiters = [a_waiter(TENANT) for _ in range(10)]
        for waiter in waiters:
            queue.put(waiter)

        assert queue.take() == waiters
        assert queue.take() == []

    async def test_a_batch_is_bounded_by_bytes(self) -> None:
        queue = Waiting()
        for _ in range(3):
            queue.put(a_waiter(TENANT, size_bytes=600_000))

        assert [len(queue.take()) for _ in range(4)] == [1, 1, 1, 0]

    async def test_one_tenant_cannot_fill_it(self) -> None:
        queue = Waiting()
        for _ in range(waiting.TENANT_WAITING_MAX):
            queue.put(a_waiter(TENANT))

        with pytest.raises(LogBusy):
            queue.put(a_waiter(TENANT))
        queue.put(a_waiter(OTHER_TENANT))

    async def test_all_together_cannot_overfill_it(self) -> None:
        queue = Waiting()
        for _ in range(waiting.WAITING_APPENDS_MAX):
            queue.put(a_waiter(uuid4()))

        with pytest.raises(LogBusy):
            queue.put(a_waiter(uuid4()))


def a_waiter(tenant_id: UUID, *, size_bytes: int = 100) -> Waiter:
    append: Append = an_append(an_event(a_stream(tenant_id)), tenant_id=tenant_id)
    return Waiter(append, size_bytes, asyncio.get_running_loop().create_future())
