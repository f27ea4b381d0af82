"""A log that looks as if the service had written it for long: filled by the server itself, ready to be measured."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg

from benchmarks.figures import note
from benchmarks.sample import DATA, META, REPLY, REQUEST_HASH, STREAM_EVENTS, TENANTS, TYPE
from domain.event import StreamRef

# So many streams go on at the same time, taking turns: what belongs together does not stand together.
STREAMS_AT_A_TIME = 1_000
# A log is filled by whole blocks, in which every stream gets all its events.
BLOCK_EVENTS = STREAMS_AT_A_TIME * STREAM_EVENTS
STATEMENT_EVENTS = 10 * BLOCK_EVENTS
STATEMENT_SECONDS_MAX = 600

CATEGORY = "function"

# Ids as the service makes them: those of younger streams are higher.
_STREAM_ID = "(lpad(to_hex(s), 12, '0') || '70008000' || lpad(to_hex(s * 7919), 12, '0'))::uuid"

_EVENTS = f"""
    INSERT INTO log.events (position, tenant_id, stream_id, version, type, schema_version, recorded_at, meta, data)
    SELECT n, ($3::uuid[])[1 + s % cardinality($3::uuid[])], {_STREAM_ID}, 1 + place / {STREAMS_AT_A_TIME}, $4, 1,
           statement_timestamp(), $5, $6
      FROM generate_series($1::bigint, $2::bigint) n,
           LATERAL (SELECT (n - 1) % {BLOCK_EVENTS}) p (place),
           LATERAL (SELECT (n - 1) / {BLOCK_EVENTS} * {STREAMS_AT_A_TIME} + place % {STREAMS_AT_A_TIME}) q (s)
     ORDER BY n
"""  # noqa: S608 -- our own numbers

_COMMANDS = """
    INSERT INTO log.commands
           (tenant_id, command_id, request_hash, outcome, reply, first_position, last_position, at)
    SELECT ($3::uuid[])[1 + n % cardinality($3::uuid[])], gen_random_uuid(), $4, 'ok', $5, n, n, statement_timestamp()
      FROM generate_series($1::bigint, $2::bigint) n
"""

_STREAMS = f"""
    INSERT INTO log.streams (tenant_id, stream_id, version, category, first_position, last_position)
    SELECT ($3::uuid[])[1 + s % cardinality($3::uuid[])], {_STREAM_ID}, {STREAM_EVENTS}, '{CATEGORY}', first,
           first + {BLOCK_EVENTS - STREAMS_AT_A_TIME}
      FROM generate_series($1::bigint, $2::bigint) s,
           LATERAL (SELECT s / {STREAMS_AT_A_TIME} * {BLOCK_EVENTS} + s % {STREAMS_AT_A_TIME} + 1) p (first)
"""  # noqa: S608 -- our own numbers

_CLAIMS = f"""
    INSERT INTO log.claims (tenant_id, scope, key, holder)
    SELECT ($3::uuid[])[1 + s % cardinality($3::uuid[])], '{CATEGORY}', md5(s::text), {_STREAM_ID}
      FROM generate_series($1::bigint, $2::bigint) s
"""  # noqa: S608 -- our own numbers

_PEER_EVENTS = f"""
    INSERT INTO stored_events (originator_id, originator_version, topic, state)
    SELECT {_STREAM_ID}, 1 + place / {STREAMS_AT_A_TIME}, $3, $4
      FROM generate_series($1::bigint, $2::bigint) n,
           LATERAL (SELECT (n - 1) % {BLOCK_EVENTS}) p (place),
           LATERAL (SELECT (n - 1) / {BLOCK_EVENTS} * {STREAMS_AT_A_TIME} + place % {STREAMS_AT_A_TIME}) q (s)
     ORDER BY n
"""  # noqa: S608 -- our own numbers

# As the server itself does when a table has grown, but not while we measure.
_TIDY = ("VACUUM (ANALYZE)", "CHECKPOINT")


async def fill(url: str, events: int) -> None:
    """Write so many events, a multiple of BLOCK_EVENTS, into an empty log, with all that the log keeps beside them."""
    async with _connected(url) as connection:
        await connection.execute("SELECT log.cover($1)", events)
        for first, last in _parts(events):
            await _fill(connection, first, last)
            note(f"filled {last:,} of {events:,} events")
    await tidy(url)


async def fill_peer(url: str, events: int) -> None:
    """Write the same events into the empty table of the eventsourcing library's recorder."""
    async with _connected(url) as connection:
        for first, last in _parts(events):
            await connection.execute(_PEER_EVENTS, first, last, TYPE, META + DATA)
        note(f"filled {events:,} events of the library")
    await tidy(url)


async def tidy(url: str) -> None:
    """Do what the server would soon do by itself in the middle of a measurement."""
    async with _connected(url) as connection:
        for statement in _TIDY:
            await connection.execute(statement)


def streams(events: int, newest: int, seed: int) -> Iterator[StreamRef]:
    """Streams among the newest so many events that a log was filled with, anywhere there, for ever."""
    chance = random.Random(seed)
    while True:
        number = chance.randrange((events - newest) // STREAM_EVENTS, events // STREAM_EVENTS)
        id = UUID(f"{number:012x}70008000{number * 7919:012x}")
        yield StreamRef(TENANTS[number % len(TENANTS)], CATEGORY, id)


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url, command_timeout=STATEMENT_SECONDS_MAX)
    try:
        yield connection
    finally:
        await connection.close()


def _parts(events: int) -> Iterator[tuple[int, int]]:
    for first in range(1, events + 1, STATEMENT_EVENTS):
        yield first, min(first + STATEMENT_EVENTS - 1, events)


async def _fill(connection: asyncpg.Connection, first: int, last: int) -> None:
    tenants = list(TENANTS)
    of_streams = (first - 1) // STREAM_EVENTS, last // STREAM_EVENTS - 1
    async with connection.transaction():
        await connection.execute(_EVENTS, first, last, tenants, TYPE, META, DATA)
        await connection.execute(_COMMANDS, first, last, tenants, REQUEST_HASH, REPLY)
        await connection.execute(_STREAMS, *of_streams, tenants)
        await connection.execute(_CLAIMS, *of_streams, tenants)
