"""A reader that asks for what is beyond its position never skips an event, whoever is slow."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import asyncpg

from eventstore.batch import send
from eventstore.database import Pool
from eventstore.log import Append, Appended
from eventstore.postgres import PostgresLog
from tests.eventstore.make import a_stream, an_append, an_event

WRITERS = 4
APPENDS_EACH = 150
PAUSE_SECONDS = 0.02


async def test_a_reader_skips_nothing_while_writers_are_slow_and_roll_back(
    database_url: str, database: Pool, postgres_log: PostgresLog
) -> None:
    """*Goal:* positions become visible in order. *Method:* appenders of their own race transactions that commit late or
    never, and one that only holds a snapshot; a subscriber follows from the start."""
    async with AsyncExitStack() as exits:
        logs = [
            await exits.enter_async_context(PostgresLog(database, database_url, role="dcf_app")) for _ in range(WRITERS)
        ]
        idle = await exits.enter_async_context(database.transaction(isolation="repeatable_read"))
        await idle.fetchval("SELECT count(*) FROM log.events")
        slow = asyncio.create_task(write_slowly(database_url))
        acknowledged = await asyncio.gather(*(write(log) for log in logs))
        late = await slow

        total = sum(len(positions) for positions in acknowledged) + len(late)
        seen: list[int] = []
        versions: dict[object, int] = {}
        async with asyncio.timeout(30):
            async for batch in postgres_log.subscribe(0):
                for event in batch:
                    seen.append(event.position)
                    assert event.version == versions.get(event.stream_id, 0) + 1
                    versions[event.stream_id] = event.version
                if len(seen) >= total:
                    break

    assert seen == list(range(1, total + 1))
    assert sorted(position for positions in (*acknowledged, late) for position in positions) == seen


async def write(log: PostgresLog) -> list[int]:
    """The positions one writer was told, over a stream of its own and new ones, several at once."""
    stream = a_stream()
    own = [an_append(an_event(stream, version)) for version in range(1, APPENDS_EACH + 1)]
    others = [an_append(an_event(a_stream())) for _ in range(APPENDS_EACH)]
    return [
        *await in_turn(log, own),
        *[p for some in await asyncio.gather(*(in_turn(log, [o]) for o in others)) for p in some],
    ]


async def in_turn(log: PostgresLog, appends: list[Append]) -> list[int]:
    positions = []
    for append in appends:
        outcome = await log.append(append)
        assert isinstance(outcome, Appended)
        positions.append(outcome.first_position)
    return positions


async def write_slowly(url: str) -> list[int]:
    """Transactions that keep what they appended to themselves for a while; every other one rolls back."""
    connection = await asyncpg.connect(url)
    positions = []
    for n in range(10):
        transaction = connection.transaction()
        await transaction.start()
        [outcome] = await send(connection, [an_append(an_event(a_stream()))], 0)
        assert isinstance(outcome, Appended)
        await asyncio.sleep(PAUSE_SECONDS)
        if n % 2:
            await transaction.rollback()
        else:
            await transaction.commit()
            positions.append(outcome.first_position)
    await connection.close()
    return positions
