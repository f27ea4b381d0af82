"""The peer: a table of events as anybody would make it, filled by plain INSERTs through asyncpg."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg

from benchmarks.sample import DATA, META, TYPE, versions

# Tried one after the other; the best is what we are measured against.
POOL_SIZES = (8, 16, 32, 64)

_TABLE = """
    CREATE TABLE plain_events (
        position bigserial PRIMARY KEY,
        tenant_id uuid NOT NULL,
        stream_id uuid NOT NULL,
        version integer NOT NULL,
        type text NOT NULL,
        recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        meta bytea NOT NULL,
        data bytea NOT NULL,
        UNIQUE (stream_id, version)
    )
"""

_INSERT = """
    INSERT INTO plain_events (tenant_id, stream_id, version, type, meta, data)
    VALUES ($1, $2, $3, $4, $5, $6)
"""


class Plain:
    """One pool on the table."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def caller(self, tenant_id: UUID) -> Callable[[], Awaitable[object]]:
        """Inserts one event each time it is called, and waits until it is durable."""
        following = versions(tenant_id)

        def insert() -> Awaitable[object]:
            stream, version = next(following)
            inserted: Awaitable[object] = self._pool.execute(
                _INSERT, stream.tenant_id, stream.id, version, TYPE, META, DATA
            )
            return inserted

        return insert

    async def copy(self, events: int) -> None:
        """The same rows by one COPY: about as fast as the server takes rows at all."""
        await self._pool.copy_records_to_table("plain_events", records=_records(events), columns=_COLUMNS)


_COLUMNS = ("tenant_id", "stream_id", "version", "type", "meta", "data")


def _records(events: int) -> Iterable[tuple[object, ...]]:
    following = versions(UUID(int=1))
    for _ in range(events):
        stream, version = next(following)
        yield stream.tenant_id, stream.id, version, TYPE, META, DATA


async def make_table(url: str) -> None:
    """Make the table in an empty database."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_TABLE)
    finally:
        await connection.close()


@asynccontextmanager
async def plain(url: str, *, pool_size: int) -> AsyncIterator[Plain]:
    """The peer with so many connections."""
    async with asyncpg.create_pool(url, min_size=pool_size, max_size=pool_size) as pool:
        yield Plain(pool)
