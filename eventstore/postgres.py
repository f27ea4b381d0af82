"""The log in PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import structlog

from domain.event import StreamRef
from eventstore import rivals
from eventstore.appender import Appender
from eventstore.archived import told_if_archived
from eventstore.batch import find
from eventstore.database import Database, Role
from eventstore.folds import Folds
from eventstore.log import (
    NO_STREAM,
    Append,
    Duplicate,
    EpochChanged,
    News,
    Outcome,
    Since,
    Snapshot,
    StoredEvent,
)
from eventstore.notifier import POLL_SECONDS, Notifier, Told
from eventstore.rivals import Rivals
from eventstore.selection import SELECTED, stored_events
from eventstore.session import HINDERED, LOST, sessions
from eventstore.turns import Turns

SUBSCRIPTION_EVENTS_MAX = 1_000

# As somebody who knows nothing of them yet: stream by stream, so that only their own partitions are looked into.
_LOAD = """
    SELECT n, position, version, type, schema_version, recorded_at, meta, data
      FROM log.load_since((SELECT max(epoch) FROM log.epochs), $1, $2,
                          array_fill($3::integer, ARRAY[cardinality($2::uuid[])]),
                          array_fill(0::bigint, ARRAY[cardinality($2::uuid[])]),
                          array_fill(''::text, ARRAY[cardinality($2::uuid[])]), 1)
"""

_LOAD_SINCE = """
    SELECT n, position, version, type, schema_version, recorded_at, meta, data
      FROM log.load_since($1, $2, $3, $4, $5, $6, $7)
"""

_KEEP_SNAPSHOT = "SELECT log.keep_snapshot($1, $2, $3, $4, $5, $6, $7)"

_READ = f"""
    SELECT {SELECTED}
      FROM log.read($1, $2) e
"""  # noqa: S608 -- names of columns

# What is left out is never sent. Positions are dense, so the last one there is tells how far this is.
_SKIM = f"""
    SELECT {SELECTED}
      FROM log.events e
     WHERE e.position > log.beyond_archives($1) AND e.position <= $1 + $2
       AND (e.type <> ALL($3) OR e.position = (SELECT max(l.position)
                                                 FROM log.events l
                                                WHERE l.position > $1 AND l.position <= $1 + $2))
     ORDER BY e.position
"""  # noqa: S608 -- names of columns

_HEAD = "SELECT log.head($1)"

_COUNTED = "SELECT scope, name, value FROM log.counted($1)"
_RECOUNT = "SELECT log.recount_in_accounts($1)"
_EPOCH = "SELECT max(epoch) FROM log.epochs"


class PostgresLog:
    """The Log over one database. Use it as a context; beside the pool it holds sessions of its own: one that listens, one
    or two that append, and up to four for turns at streams that other processes write too.

    `role` is what appends are made as. Reading in order sees all tenants, so it needs a pool of dcf_engine.
    `listen_url` is a direct
    address of the server, for when `url` leads through a pooler.
    """

    def __init__(
        self,
        database: Database,
        url: str,
        *,
        role: Role,
        listen_url: str | None = None,
        statement_cache_size: int = 100,
        also: Told | None = None,
    ) -> None:
        """`also` is told what is said on other channels than the log's own."""
        self.folds = Folds(self)
        self._rivals = Rivals(sessions(url, role=role, statement_cache_size=statement_cache_size))
        self.turns = Turns(self._rivals)
        self._database = database
        # Whoever answers next may be a server that has lost the log's end.
        self._notifier = Notifier(
            sessions(listen_url or url, role=role),
            interrupted=self.folds.forget_all,
            also={rivals.CHANNEL: self._rivals.heard, **(also or {})},
        )
        self._appender = Appender(
            sessions(url, role=role, statement_cache_size=statement_cache_size), advanced=self._notifier.advance
        )
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._exits.enter_async_context(self._notifier)
        await self._exits.enter_async_context(self._appender)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.folds.close()
        self._rivals.close()
        await self._exits.aclose()

    @property
    def waiting(self) -> int:
        """How many appends wait to be written."""
        return len(self._appender)

    def append(self, append: Append) -> Coroutine[Any, Any, Outcome]:
        return self._appender.append(append)

    async def find(self, tenant_id: UUID, command_id: UUID) -> Duplicate | None:
        return await find(self._database, tenant_id, command_id)

    async def load(self, streams: Sequence[StreamRef], *, after: int = NO_STREAM) -> list[list[StoredEvent]]:
        loaded: list[list[StoredEvent]] = [[] for _ in streams]
        with told_if_archived():
            rows = await self._database.fetch(_LOAD, [s.tenant_id for s in streams], [s.id for s in streams], after)
        for n, position, *rest in rows:
            stream = streams[n - 1]
            loaded[n - 1].append(StoredEvent(position, stream.tenant_id, stream.id, *rest))
        return loaded

    async def load_since(self, known: Sequence[Since], *, epoch: int, worth: int) -> list[News]:
        with told_if_archived():
            rows = await self._database.fetch(
                _LOAD_SINCE,
                epoch,
                [since.stream.tenant_id for since in known],
                [since.stream.id for since in known],
                [since.version for since in known],
                [since.position for since in known],
                [since.code for since in known],
                worth,
            )
        news = [News([]) for _ in known]
        for n, position, version, type, *rest in rows:
            if n == 0:
                raise EpochChanged(version)
            since = known[n - 1]
            if type is None:
                snapshot = Snapshot(since.stream, since.code, version, position, rest[-1])
                news[n - 1] = News([], snapshot)
                continue
            stored = StoredEvent(position, since.stream.tenant_id, since.stream.id, version, type, *rest)
            news[n - 1].events.append(stored)
        return news

    async def keep_snapshot(self, snapshot: Snapshot, *, epoch: int) -> None:
        stream = snapshot.stream
        await self._database.execute(
            _KEEP_SNAPSHOT,
            epoch,
            stream.tenant_id,
            stream.id,
            snapshot.code,
            snapshot.version,
            snapshot.position,
            snapshot.state,
        )

    async def read(self, after: int, *, limit: int) -> list[StoredEvent]:
        with told_if_archived():
            return stored_events(await self._database.fetch(_READ, after, limit))

    async def skim(self, after: int, *, limit: int, without: Sequence[str]) -> list[StoredEvent]:
        if not without:
            return await self.read(after, limit=limit)
        with told_if_archived():
            return stored_events(await self._database.fetch(_SKIM, after, limit, without))

    async def counted(self, tenant_id: UUID) -> dict[tuple[str, str], int]:
        rows = await self._database.fetch(_COUNTED, tenant_id)
        return {(row["scope"], row["name"]): row["value"] for row in rows}

    async def recount_in_accounts(self, tenant_id: UUID) -> int:
        changed: int = await self._database.fetchval(_RECOUNT, tenant_id)
        return changed

    async def head(self) -> int:
        end: int = await self._database.fetchval(_HEAD, self._notifier.end)
        return end

    async def epoch(self) -> int:
        epoch: int = await self._database.fetchval(_EPOCH)
        return epoch

    async def subscribe(self, after: int) -> AsyncIterator[list[StoredEvent]]:
        """As Log.subscribe; a server that is away is waited for. Nothing is read ahead of what the caller takes."""
        while True:
            try:
                batch = await self.read(after, limit=SUBSCRIPTION_EVENTS_MAX)
            except (*LOST, *HINDERED) as error:
                structlog.get_logger().warning("subscription_interrupted", after=after, reason=repr(error))
                await asyncio.sleep(POLL_SECONDS)
                continue
            if batch:
                yield batch
                after = batch[-1].position
            else:
                await self._notifier.wait_beyond(after, seconds_max=POLL_SECONDS)

    async def wait_beyond(self, position: int, *, seconds_max: float) -> bool:
        return await self._notifier.wait_beyond(position, seconds_max=seconds_max)
