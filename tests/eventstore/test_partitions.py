"""Partitions: made ahead of need, passed without a gap, left alone by what does not need them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from eventstore.database import Pool, connect
from eventstore.log import Appended, Duplicate, Since
from eventstore.postgres import PostgresLog
from tests.eventstore.make import a_stream, an_append, an_event

SIZE = 20

_MAKE_SMALL = f"""
    DROP TABLE log.events_1, log.events_1000001, log.commands_1;
    UPDATE log.layout SET covered_to = 0, partition_size = {SIZE}, commands_to = 0, commands_size = {SIZE};
    SELECT log.cover(1);
"""

_PARTITIONS = """
    SELECT c.relname
      FROM pg_inherits i
      JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = $1::text::regclass
     ORDER BY length(c.relname), c.relname
"""

# Somebody waits for the table's lock for longer than is tried while there is room.
_WAITS_LONG = """
    SELECT count(*) FROM pg_locks
     WHERE NOT granted AND relation = 'log.events'::regclass AND waitstart < clock_timestamp() - interval '0.2 seconds'
"""


@pytest.fixture
async def small(owner: Pool) -> Pool:
    """Partitions of SIZE positions; acts as the owner."""
    await owner.execute(_MAKE_SMALL)
    return owner


async def names(owner: Pool, table: str = "log.events") -> list[str]:
    return [row["relname"] for row in await owner.fetch(_PARTITIONS, table)]


async def test_there_is_always_a_whole_partition_ahead(small: Pool, postgres_log: PostgresLog) -> None:
    for n in range(3 * SIZE):
        outcome = await postgres_log.append(an_append(an_event(a_stream())))
        assert isinstance(outcome, Appended)
        assert outcome.last_position == n + 1
        covered = await small.fetchval("SELECT covered_to FROM log.layout")
        assert covered >= outcome.last_position + SIZE

    assert (await names(small))[:4] == ["events_1", "events_21", "events_41", "events_61"]
    assert (await names(small, "log.commands"))[:2] == ["commands_1", "commands_21"]


async def test_partitions_of_commands_may_be_larger(small: Pool, postgres_log: PostgresLog) -> None:
    await small.execute("UPDATE log.layout SET commands_size = $1", 3 * SIZE + 1)

    appends = [an_append(an_event(a_stream())) for _ in range(5 * SIZE)]
    for append in appends:
        assert isinstance(await postgres_log.append(append), Appended)

    assert (await names(small, "log.commands"))[:4] == ["commands_1", "commands_21", "commands_41", "commands_102"]
    for append in appends:
        assert isinstance(await postgres_log.append(append), Duplicate)


async def test_one_batch_may_pass_several_partitions(small: Pool, postgres_log: PostgresLog) -> None:
    stream = a_stream()

    outcome = await postgres_log.append(an_append(*(an_event(stream, v) for v in range(1, 10 * SIZE))))

    assert isinstance(outcome, Appended)
    assert outcome.last_position == 10 * SIZE - 1
    [events] = await postgres_log.load([stream])
    assert [e.version for e in events] == list(range(1, 10 * SIZE))
    assert [e.position for e in await postgres_log.read(0, limit=1_000)] == list(range(1, 10 * SIZE))


async def test_a_command_is_found_partitions_later(small: Pool, postgres_log: PostgresLog) -> None:
    first = an_append(an_event(a_stream()))
    await postgres_log.append(first)
    await asyncio.gather(*(postgres_log.append(an_append(an_event(a_stream()))) for _ in range(5 * SIZE)))

    again = await postgres_log.append(first)

    assert await postgres_log.find(first.tenant_id, first.command_id) == again


async def test_a_long_reader_does_not_hold_up_the_next_partition(
    small: Pool, database: Pool, postgres_log: PostgresLog
) -> None:
    await postgres_log.append(an_append(an_event(a_stream())))

    async with database.transaction(isolation="repeatable_read") as reader:
        assert await reader.fetchval("SELECT count(*) FROM log.events") == 1
        for _ in range(3 * SIZE):
            await asyncio.wait_for(postgres_log.append(an_append(an_event(a_stream()))), 30)
        assert await reader.fetchval("SELECT count(*) FROM log.events") == 1


async def test_a_lock_in_the_way_is_gone_round_while_there_is_room(
    small: Pool, database_url: str, postgres_log: PostgresLog
) -> None:
    async def append_many(count: int) -> None:
        for _ in range(count):
            await postgres_log.append(an_append(an_event(a_stream())))

    connection = await asyncpg.connect(database_url)
    async with connection.transaction():
        await connection.execute("LOCK TABLE log.events IN SHARE UPDATE EXCLUSIVE MODE")
        await append_many(2 * SIZE - 1)
        assert await names(small) == ["events_1", "events_21", "events_41"][: len(await names(small))]
    await connection.close()
    await append_many(SIZE)

    assert len(await names(small)) >= 4


async def test_many_at_once_fill_partition_after_partition(small: Pool, postgres_log: PostgresLog) -> None:
    outcomes = await asyncio.gather(*(postgres_log.append(an_append(an_event(a_stream()))) for _ in range(20 * SIZE)))

    assert sorted(o.last_position for o in outcomes if isinstance(o, Appended)) == list(range(1, 20 * SIZE + 1))
    assert await small.fetchval("SELECT covered_to FROM log.layout") >= 21 * SIZE


async def test_without_room_the_next_partition_is_waited_for(
    small: Pool, database_url: str, postgres_log: PostgresLog
) -> None:
    connection = await asyncpg.connect(database_url)
    async with connection.transaction():
        await connection.execute("LOCK TABLE log.events IN SHARE UPDATE EXCLUSIVE MODE")
        covered = await small.fetchval("SELECT covered_to FROM log.layout")
        appends = [postgres_log.append(an_append(an_event(a_stream()))) for _ in range(covered + SIZE)]
        outcomes = asyncio.gather(*appends)
        async with asyncio.timeout(60):
            while not await connection.fetchval(_WAITS_LONG):
                await asyncio.sleep(0.05)
        assert not outcomes.done()
    await connection.close()

    assert [o.last_position for o in await outcomes if isinstance(o, Appended)] == list(range(1, covered + SIZE + 1))


async def test_a_stream_is_read_from_the_partitions_it_stands_in(
    small: Pool, database_url: str, postgres_log: PostgresLog
) -> None:
    """*Method:* by the server's own count of how often each partition's index was used."""
    early, late = a_stream(), a_stream()
    await postgres_log.append(an_append(an_event(early)))
    for _ in range(4 * SIZE):
        await postgres_log.append(an_append(an_event(a_stream())))
    outcome = await postgres_log.append(an_append(an_event(late), an_event(early, 2), an_event(early, 3)))
    assert isinstance(outcome, Appended)
    last = outcome.last_position
    partition = f"events_{(last - 1) // SIZE * SIZE + 1}"

    async with searched(database_url) as found, reading(database_url) as log:
        await log.load([late])
        await log.load_since([Since(late)], epoch=1, worth=1)
        await log.load_since([Since(early, 2, last - 1)], epoch=1, worth=1)
    # What is above a version stands beyond its position: where the early one begins is not looked at again.
    assert {name for name, searches in found.items() if searches} == {partition}

    async with searched(database_url) as found, reading(database_url) as log:
        await log.load([early])
    assert found["events_1"] == 1
    assert found[partition] == 1


@asynccontextmanager
async def reading(url: str) -> AsyncIterator[PostgresLog]:
    """The log with sessions of its own, ended afterwards: then the server has counted what they did."""
    async with connect(url, role="dcf_app", size_max=1) as pool:
        yield PostgresLog(pool, url, role="dcf_app")


@asynccontextmanager
async def searched(url: str) -> AsyncIterator[dict[str, int]]:
    """How often the index on streams of each partition was searched during the block; filled in at its end."""
    found: dict[str, int] = {}
    before = await searches(url)
    yield found
    async with asyncio.timeout(60):
        while (after := await searches(url)) == before:
            await asyncio.sleep(0.05)
    found.update({name: count - before[name] for name, count in after.items()})


async def searches(url: str) -> dict[str, int]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("""
        SELECT relname, idx_scan FROM pg_stat_user_indexes
         WHERE relname LIKE 'events%' AND indexrelname LIKE '%stream%'
    """)
    await connection.close()
    return {row["relname"]: row["idx_scan"] for row in rows}
