"""The log's hot paths stay on their indexes, also while tables are so small that PostgreSQL would rather scan them."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import asyncpg

from eventstore.database import connect
from eventstore.log import Append, Expected, Since, Snapshot
from eventstore.postgres import PostgresLog
from tests.eventstore.make import TENANT, a_claim, a_counter, a_stream, an_append, an_event

_SCANS = """
    SELECT relname, seq_scan
      FROM pg_stat_user_tables
     WHERE schemaname IN ('log', 'work') AND relname NOT IN ('layout', 'epochs') AND seq_scan > 0
"""

_RESET = "ANALYZE; SELECT pg_stat_reset()"


async def test_no_table_is_scanned(database_url: str) -> None:
    """*Method:* statistics of tiny tables, every path many times, then the server's own count of scans."""
    observer = await asyncpg.connect(database_url)
    await use_everything(database_url, rounds=1)
    await observer.execute(_RESET)

    await use_everything(database_url, rounds=12)
    await sessions_gone(observer)

    assert await observer.fetch(_SCANS) == []
    await observer.close()


async def use_everything(url: str, *, rounds: int) -> None:
    async with connect(url, role="dcf_engine", size_max=1) as pool, PostgresLog(pool, url, role="dcf_engine") as log:
        for n in range(rounds):
            stream = a_stream()
            lone = an_append(an_event(stream), expected=(Expected(stream, 0),))
            await log.append(lone)
            await log.append(lone)
            await log.append(an_append(an_event(stream, 2)))
            await asyncio.gather(*(log.append(full_append()) for _ in range(5)))
            await log.load([stream, a_stream()])
            await log.load_since([Since(stream, code="code"), Since(a_stream(), code="code")], epoch=1, worth=1)
            await log.keep_snapshot(Snapshot(stream, "code", 1, 3 * n + 1, b"{}"), epoch=1)
            await log.find(TENANT, lone.command_id)
            await log.read(n, limit=5)
            await log.head()


def full_append() -> Append:
    stream, holder = a_stream(), uuid4()
    return an_append(
        an_event(stream, 1),
        an_event(stream, 2),
        expected=(Expected(stream, 0),),
        claims=(a_claim(str(holder), holder),),
        counters=(a_counter(),),
    )


async def sessions_gone(observer: asyncpg.Connection) -> None:
    """A session reports what it did at the latest when it ends."""
    while await observer.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    ):
        await asyncio.sleep(0.02)
