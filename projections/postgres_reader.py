"""Asks the read models in PostgreSQL: one round trip a query, held to the tenant by row-level security."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

import asyncpg
import msgspec

from eventstore.database import Database, Row
from eventstore.session import OpenSession
from projections.active import Served
from projections.awaited import Saying
from projections.catalogue import READ_MODELS
from projections.listener import Listener
from projections.progress import Progress
from projections.query import AnyQuery, Found, Query
from projections.reader import AnsweringByRows, ReadModelNotReady
from projections.row_changes import restored
from projections.tables import call_sql

A = TypeVar("A")

# How long a query waits for the engine to make what it asks.
READY_SECONDS_MAX = 2.0
_LOOK_SECONDS = 0.1
_ALL = frozenset(model.name for model in READ_MODELS)


class PostgresReader(AnsweringByRows):
    """The Reader over a pool. Use it as a context: beside the pool it holds one session that listens.

    `database` acts as dcf_app, or, for the queries of the service's own parts, as dcf_engine. Given the `progress` that
    an engine in this very process reports to, waits do not go through the database at all.
    """

    def __init__(self, database: Database, open_session: OpenSession, *, progress: Progress | None = None) -> None:
        self._database = database
        self._progress = progress or Progress()
        self._listener = Listener(open_session, self._progress)
        self._saying = Saying(database)
        self._statements: dict[tuple[str, Served], str] = {}
        self._decoders: dict[str, msgspec.json.Decoder[Any]] = {}
        # What every write waits for, worked out once for what is served.
        self._all_of: Mapping[str, Served] | None = None
        self._all_kinds: frozenset[str] | None = None

    async def __aenter__(self) -> Self:
        await self._listener.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._saying.close()
        await self._listener.__aexit__(kind, error, trace)

    async def rows(self, query: Query[A], tenant_id: UUID | None, *args: Any) -> list[Found[A]]:
        values = (tenant_id, *args) if query.audience == "tenant" else args
        decode = self._decoder(query).decode
        found = _found if query.over == "rows" else _found_in_chain
        return [found(row, decode) for row in await self._fetch(query, values)]

    async def wait_for(self, position: int, queries: Iterable[AnyQuery] = (), *, seconds_max: float) -> bool:
        now = time.monotonic()
        end = now + seconds_max
        names = frozenset(query.model.name for query in queries) or _ALL
        while True:
            left = end - time.monotonic()
            kinds = self._kinds(names)
            if kinds is not None:
                if not self._progress.has_reached(kinds, position):
                    self._saying.somebody_waits(now)
                if await self._progress.reached(kinds, position, seconds_max=max(0.0, left)):
                    return True
            elif left > 0:
                await self._listener.look(seconds_max=min(left, _LOOK_SECONDS))
            if left <= 0:
                return False

    def _kinds(self, names: frozenset[str]) -> frozenset[str] | None:
        """What is served of these models; None: not all of them are yet."""
        active = self._listener.active
        if names is _ALL and self._all_of is active:
            return self._all_kinds
        kinds = frozenset(active[name].kind(name) for name in names) if names <= active.keys() else None
        if names is _ALL:
            self._all_of, self._all_kinds = active, kinds
        return kinds

    async def _fetch(self, query: AnyQuery, values: tuple[Any, ...]) -> list[Row]:
        end = time.monotonic() + READY_SECONDS_MAX
        while True:
            served = self._listener.active.get(query.model.name)
            if served is not None:
                try:
                    return await self._database.fetch(self._statement(query, served), *values)
                except (asyncpg.UndefinedFunctionError, asyncpg.UndefinedTableError):
                    pass  # Another build is served by now, or the engine is about to make what is missing.
            if time.monotonic() > end:
                raise ReadModelNotReady
            await self._listener.look(seconds_max=_LOOK_SECONDS)

    def _statement(self, query: AnyQuery, served: Served) -> str:
        key = (query.name, served)
        if key not in self._statements:
            self._statements[key] = call_sql(query, served)
        return self._statements[key]

    def _decoder(self, query: Query[A]) -> msgspec.json.Decoder[A]:
        if query.name not in self._decoders:
            self._decoders[query.name] = msgspec.json.Decoder(query.answer)
        return self._decoders[query.name]


def _found(row: Row, decode: Any) -> Found[Any]:
    tenant_id, id, first_position, position, raw = row
    return Found(tenant_id, id, first_position, position, raw, decode(raw))


def _found_in_chain(row: Row, decode: Any) -> Found[Any]:
    tenant_id, id, first_position, position, chain = row
    raw = restored(chain)
    return Found(tenant_id, id, first_position, position, raw, decode(raw))
