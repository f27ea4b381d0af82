"""A subscription is woken once a batch, reads nothing ahead, and outlives whatever wakes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing

import asyncpg
import pytest

from eventstore.appender import LANE_APPENDS_MIN
from eventstore.database import Pool, connect
from eventstore.log import StoredEvent
from eventstore.notifier import CHANNEL, POLL_SECONDS, Notifier
from eventstore.postgres import SUBSCRIPTION_EVENTS_MAX, PostgresLog
from eventstore.session import Session, sessions
from tests.eventstore.make import TENANT, a_stream, an_append, an_event

_UNANNOUNCED = """
    INSERT INTO log.events (position, tenant_id, stream_id, version, type, schema_version, recorded_at, meta, data)
    SELECT max(position) + 1, $1, $2, 1, 'sample.happened', 1, clock_timestamp(), '', '' FROM log.events
"""

_CUT_OFF = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name IN ('dcf log', 'dcf reader')
"""


class CountingLog(PostgresLog):
    """Counts how often it was read."""

    reads = 0

    async def read(self, after: int, *, limit: int) -> list[StoredEvent]:
        self.reads += 1
        return await super().read(after, limit=limit)


@pytest.fixture
async def reader(database_url: str) -> AsyncIterator[CountingLog]:
    """A log of its own, as another process has it."""
    async with (
        connect(database_url, role="dcf_engine", size_max=1, application_name="dcf reader") as pool,
        CountingLog(pool, database_url, role="dcf_engine") as log,
    ):
        yield log


async def append(log: PostgresLog, events: int) -> None:
    """So many in one append."""
    stream = a_stream()
    await log.append(an_append(*(an_event(stream, version) for version in range(1, events + 1))))


async def follow(log: PostgresLog, count: int) -> list[int]:
    """The first positions, as many as are asked for."""
    seen: list[int] = []
    async with asyncio.timeout(30), aclosing(log.subscribe(0)) as batches:  # type: ignore[type-var]
        async for batch in batches:
            seen += [event.position for event in batch]
            if len(seen) >= count:
                break
    return seen


async def test_a_batch_is_announced_once(database_url: str, postgres_log: PostgresLog) -> None:
    announced: list[object] = []
    connection = await asyncpg.connect(database_url)
    await connection.add_listener(CHANNEL, lambda *heard: announced.append(heard[-1]))

    await append(postgres_log, 10)
    await asyncio.gather(*(append(postgres_log, 1) for _ in range(LANE_APPENDS_MIN - 1)))
    await connection.fetchval("SELECT 1")  # Notifications come before an answer.

    assert announced == ["10", str(10 + LANE_APPENDS_MIN - 1)]
    await connection.close()


async def test_nothing_is_read_ahead_of_whoever_is_slow(reader: CountingLog) -> None:
    for _ in range(3):
        await append(reader, SUBSCRIPTION_EVENTS_MAX)

    async with aclosing(reader.subscribe(0)) as batches:  # type: ignore[type-var]
        for number in (1, 2, 3):
            batch = await anext(batches)
            await asyncio.sleep(0.05)
            assert (len(batch), reader.reads) == (SUBSCRIPTION_EVENTS_MAX, number)


async def test_what_was_not_announced_is_found_all_the_same(
    owner: Pool, reader: CountingLog, postgres_log: PostgresLog
) -> None:
    await append(postgres_log, 1)
    following = asyncio.create_task(follow(reader, 2))
    await asyncio.sleep(0.05)

    await owner.execute(_UNANNOUNCED, TENANT, a_stream().id)

    assert await asyncio.wait_for(following, 30 * POLL_SECONDS) == [1, 2]


async def test_sessions_that_are_cut_off_again_and_again_cost_no_event(
    database_url: str, reader: CountingLog, postgres_log: PostgresLog
) -> None:
    connection = await asyncpg.connect(database_url)
    following = asyncio.create_task(follow(reader, 60))

    for _ in range(3):
        for _ in range(20):
            await append(postgres_log, 1)
        await connection.execute(_CUT_OFF)

    assert await following == list(range(1, 61))
    await connection.close()


async def test_of_many_followers_each_sees_everything(reader: CountingLog, postgres_log: PostgresLog) -> None:
    following = [asyncio.create_task(follow(reader, 50)) for _ in range(10)]

    for _ in range(50):
        await append(postgres_log, 1)

    assert await asyncio.gather(*following) == [list(range(1, 51))] * 10


@pytest.mark.parametrize("ticks", range(5))
async def test_it_closes_also_in_the_instant_in_which_its_session_is_lost(database_url: str, ticks: int) -> None:
    opened: list[Session] = []
    open_session = sessions(database_url, role="dcf_engine")

    async def remembered() -> Session:
        opened.append(await open_session())
        return opened[-1]

    async with AsyncExitStack() as exits:
        notifier = await exits.enter_async_context(Notifier(remembered, interrupted=lambda: None))
        await notifier.wait_beyond(0, seconds_max=0.1)
        opened[-1].terminate()
        for _ in range(ticks):
            await asyncio.sleep(0)
        closing = asyncio.create_task(exits.pop_all().aclose())
        ended, _ = await asyncio.wait({closing}, timeout=30)
        assert ended
