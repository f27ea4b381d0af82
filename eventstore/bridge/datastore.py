"""One database as the recorders use it: opened when first needed, asked by threads, answered by our asyncpg core."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import AsyncExitStack
from threading import Lock
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from domain.event import SYSTEM_TENANT
from eventstore.archive.whole import Shelf
from eventstore.bridge.background import Background, Closed
from eventstore.bridge.schema import prepare
from eventstore.bridge.scope import Scope
from eventstore.bridge.streams import Streams
from eventstore.database import Connection, Database, connect
from eventstore.postgres import PostgresLog
from eventstore.server import postgres
from eventstore.session import HINDERED, LOST
from eventstore.tracking import Tracking, track

T = TypeVar("T")

CONNECTIONS_MAX = 5
# What a lost or hindered session did not answer is asked again, as the library's own recorders do.
TRIES_MAX = 10
RETRY_SECONDS = 0.2


class Reach(msgspec.Struct, frozen=True):
    """What an open datastore works with; all of it belongs to the background's loop."""

    database: Database
    log: PostgresLog
    streams: Streams
    scope: Scope
    shelf: Shelf

    @property
    def home(self) -> UUID:
        """Whose what belongs to no stream is: the tenant's, or the system's for a bridge that sees all."""
        return self.scope.tenant_id or SYSTEM_TENANT


class Datastore:
    """Closed by `close`, or when nobody has it any more."""

    def __init__(self, scope: Scope, *, creates_tables: bool) -> None:
        self.scope = scope
        self._creates_tables = creates_tables
        self._opening = Lock()
        self._reach: Reach | None = None
        self._background: Background | None = None
        self._end: weakref.finalize[..., Datastore] | None = None
        self._closed = False

    @property
    def home(self) -> UUID:
        """As Reach.home."""
        return self.scope.tenant_id or SYSTEM_TENANT

    def open(self) -> None:
        """Connect, and see that the database has what the bridge needs. Doing it again does nothing.

        Raises Closed, SchemaMissing, PostgresUnavailable, or what asyncpg raises.
        """
        with self._opening:
            if self._closed:
                raise Closed
            if self._reach is not None:
                return
            background, exits = Background(), AsyncExitStack()
            try:
                self._reach = background.call(_open(self.scope, exits, creates_tables=self._creates_tables))
            except BaseException:
                background.stop(exits.aclose())
                raise
            self._background = background
            self._end = weakref.finalize(self, _end, background, exits)

    def close(self) -> None:
        """Let go of every connection. What was appended is written first."""
        with self._opening:
            self._closed = True
            self._reach = None
            if self._end is not None:
                self._end()

    def ask(self, question: Callable[[Reach], Awaitable[T]]) -> T:
        """The answer to something that may be asked twice."""
        return self._call(asked(question, self._opened()))

    def once(self, question: Callable[[Reach], Coroutine[Any, Any, T]]) -> T:
        """The answer to something that may not be asked twice."""
        return self._call(question(self._opened()))

    def track(self, tracking: Tracking, work: Callable[[Connection], Awaitable[None]] | None = None) -> None:
        """Record it, in one transaction with whatever `work` does on the connection it is given.

        Not asked twice: had it been recorded the first time, the second would say so, and nobody could tell by whom.
        """
        self.once(lambda reach: _track(reach, tracking, work))

    def wait_beyond(self, position: int, *, seconds_max: float) -> Future[bool]:
        """As Log.wait_beyond; cancel the future to be woken."""
        waiting = self._opened().log.wait_beyond(position, seconds_max=seconds_max)
        return self._running().start(waiting)

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._running().call(coroutine)

    def _running(self) -> Background:
        assert self._background is not None
        return self._background

    def _opened(self) -> Reach:
        self.open()
        reach = self._reach
        if reach is None:
            raise Closed  # By another thread, a moment ago.
        return reach


async def _open(scope: Scope, exits: AsyncExitStack, *, creates_tables: bool) -> Reach:
    settings = scope.settings
    url = await exits.enter_async_context(postgres(settings))
    await prepare(url, creates_tables=creates_tables)
    cache_size = settings.statement_cache_size
    database = await exits.enter_async_context(
        connect(
            url,
            role=scope.role,
            size_max=min(CONNECTIONS_MAX, settings.pool_size_max),
            statement_cache_size=cache_size,
            application_name="dcf bridge",
        )
    )
    direct = settings.database_direct_url
    log = PostgresLog(
        database,
        url,
        role=scope.role,
        listen_url=None if direct is None else direct.reveal(),
        statement_cache_size=cache_size,
    )
    await exits.enter_async_context(log)
    return Reach(database, log, Streams(database, scope.tenant_id), scope, Shelf(settings.archive_dir))


def _end(background: Background, exits: AsyncExitStack) -> None:
    background.stop(exits.aclose())


async def asked(question: Callable[[Reach], Awaitable[T]], reach: Reach) -> T:
    """The answer to something that may be asked twice."""
    for _ in range(TRIES_MAX - 1):
        try:
            return await question(reach)
        except (*LOST, *HINDERED):
            await asyncio.sleep(RETRY_SECONDS)
    return await question(reach)


async def _track(reach: Reach, tracking: Tracking, work: Callable[[Connection], Awaitable[None]] | None) -> None:
    async with reach.database.transaction() as connection:
        await track(connection, tracking)
        if work is not None:
            await work(connection)
