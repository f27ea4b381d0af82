"""Connections to PostgreSQL: a pool that acts in one role, behind a protocol that says what may be asked of it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import asyncpg

Role = Literal["dcf_owner", "dcf_app", "dcf_engine"]
Isolation = Literal["read_committed", "repeatable_read", "serializable"]
Row = asyncpg.Record

# A crashed server recovers within so long, mostly.
NOT_NOW_SECONDS_MAX, NOT_NOW_LOOK_SECONDS = 60.0, 0.1
CONNECT_SECONDS_MAX = 10.0
# A statement that takes longer is stuck; what may take longer says so with a `timeout` of its own.
STATEMENT_SECONDS_MAX = 60.0
# Beyond this an unused connection is given up.
IDLE_SECONDS_MAX = 300.0
# The niceness of work that can wait: whoever does not wait gets some ten times as much of a processor.
GIVING_WAY = 10

_ALONE = {"max_parallel_workers_per_gather": "0", "max_parallel_maintenance_workers": "0"}


class Queries(Protocol):
    """Statements, with values given only by `$n`. `timeout` is in seconds."""

    async def fetch(self, query: str, *args: Any, timeout: float | None = None) -> list[Row]: ...

    async def fetchrow(self, query: str, *args: Any, timeout: float | None = None) -> Row | None: ...

    async def fetchval(self, query: str, *args: Any, timeout: float | None = None) -> Any: ...

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str: ...

    async def executemany(self, query: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None) -> None: ...


class Connection(Queries, Protocol):
    """One session, held."""

    async def copy_records_to_table(
        self,
        table_name: str,
        *,
        records: Iterable[Sequence[Any]],
        columns: Sequence[str] | None = None,
        schema_name: str | None = None,
        timeout: float | None = None,
    ) -> str: ...

    async def copy_to_table(
        self,
        table_name: str,
        *,
        source: AsyncIterable[bytes],
        columns: Sequence[str] | None = None,
        schema_name: str | None = None,
        format: Literal["binary"] | None = None,  # noqa: A002 - the driver's own word
        timeout: float | None = None,
    ) -> str: ...

    def transaction(self) -> AbstractAsyncContextManager[Any]: ...


class Database(Queries, Protocol):
    """A pool of sessions: each statement of its own runs on whichever is free, and commits by itself."""

    def acquire(self) -> AbstractAsyncContextManager[Connection]:
        """A session, held for the block. Leave nothing set in it: the next holder gets it as it is."""
        ...

    def transaction(
        self, *, isolation: Isolation = "read_committed", readonly: bool = False
    ) -> AbstractAsyncContextManager[Connection]:
        """A session inside a transaction, committed at the end of the block, rolled back when it raises."""
        ...


class Pool:
    """The Database on an asyncpg pool."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def fetch(self, query: str, *args: Any, timeout: float | None = None) -> list[Row]:
        rows: list[Row] = await self._pool.fetch(query, *args, timeout=timeout)
        return rows

    async def fetchrow(self, query: str, *args: Any, timeout: float | None = None) -> Row | None:
        row: Row | None = await self._pool.fetchrow(query, *args, timeout=timeout)
        return row

    async def fetchval(self, query: str, *args: Any, timeout: float | None = None) -> Any:
        return await self._pool.fetchval(query, *args, timeout=timeout)

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        status: str = await self._pool.execute(query, *args, timeout=timeout)
        return status

    async def executemany(self, query: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None) -> None:
        await self._pool.executemany(query, args, timeout=timeout)

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        async with self._pool.acquire() as connection:
            yield connection

    @asynccontextmanager
    async def transaction(
        self, *, isolation: Isolation = "read_committed", readonly: bool = False
    ) -> AsyncIterator[Connection]:
        async with self._pool.acquire() as connection, connection.transaction(isolation=isolation, readonly=readonly):
            yield connection


@asynccontextmanager
async def connect(
    url: str,
    *,
    role: Role,
    size_max: int = 10,
    size_min: int = 1,
    statement_cache_size: int = 100,
    application_name: str = "dcf",
    gives_way: bool = False,
) -> AsyncIterator[Pool]:
    """A pool whose every session acts as `role`, closed when the block ends.

    `statement_cache_size` is 0 behind a pooler that pools transactions. What `gives_way` is for work that can wait: it
    takes one processor a session at most and, where the server is on this machine, only what others leave of it. A server that is just starting,
    recovering or ending is waited for, NOT_NOW_SECONDS_MAX. Raises OSError or asyncpg's own errors when the server is not
    there.
    """
    make = partial(
        asyncpg.create_pool,
        url,
        min_size=min(size_min, size_max),
        max_size=size_max,
        statement_cache_size=statement_cache_size,
        timeout=CONNECT_SECONDS_MAX,
        command_timeout=STATEMENT_SECONDS_MAX,
        max_inactive_connection_lifetime=IDLE_SECONDS_MAX,
        server_settings={"role": role, "application_name": application_name} | (_ALONE if gives_way else {}),
        init=_give_way if gives_way else None,
        reset=_as_it_was,
    )
    async with await _opened(make) as pool:
        yield Pool(pool)


async def _opened(make: Callable[[], Any]) -> Any:
    """A pool with its first session. Once a server has said that it is not to be had now, it may be gone for a moment."""
    waited: tuple[type[Exception], ...] = (asyncpg.CannotConnectNowError,)
    deadline = time.monotonic() + NOT_NOW_SECONDS_MAX
    while True:
        pool = make()
        try:
            await pool
        except waited:
            if time.monotonic() > deadline:
                raise
            waited = (asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError, OSError)
            await asyncio.sleep(NOT_NOW_LOOK_SECONDS)
        else:
            return pool


async def _give_way(connection: Any) -> None:
    """Lower the priority of the session's own process, when that is one of this machine and may be done."""
    if not isinstance(connection._addr, str):
        return
    server = Path(f"/proc/{connection.get_server_pid()}")
    with suppress(OSError):
        # Behind a socket that another container shares, the number may be that of any process.
        if (server / "cmdline").read_bytes().startswith(b"postgres:"):
            os.setpriority(os.PRIO_PROCESS, connection.get_server_pid(), GIVING_WAY)


async def _as_it_was(connection: Any) -> None:
    """Nobody leaves settings behind (only SET LOCAL is allowed), so the usual round trip to clear them is saved."""
    if connection.is_in_transaction():
        await connection.reset()
