"""Partitions: made ahead of need, passed without a gap, left alone by what does not need them."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from eventstore.database import Pool
from eventstore.log import Appended
from eventstore.postgres import PostgresLog
from tests.eventstore.make import a_stream, an_append, an_event

SIZE = 20

_MAKE_SMALL = f"""
    DROP TABLE log.events_1, log.commands_1, log.events_1000001, log.commands_1000001;
    UPDATE log.layout SET covered_to = 0, partition_size = {SIZE};
    SELECT log.cover(1);
"""

_PARTITIONS = """
    SELECT c.relname
      FROM pg_inherits i
      JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = $1::text::regclass
     ORDER BY length(c.relname), c.relname
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
            await asyncio.wait_for(postgres_log.append(an_append(an_event(a_stream()))), 5)
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
