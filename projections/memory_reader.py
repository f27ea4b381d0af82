"""The read models in memory: folded from the log whenever they are asked."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from eventstore.codec import Codec, tag_of
from eventstore.log import Log, StoredEvent
from projections.catalogue import READ_MODELS
from projections.query import AnyQuery, Found, Page, Query
from projections.read_model import AnyModel, RowKey
from projections.reader import checked_limit, cut
from projections.recorded import Recorded

A = TypeVar("A")

BATCH_EVENTS_MAX = 1_000


class MemoryReader:
    """The Reader of a log in memory (or any log: it is the plainest fold there is). An event that a read model cannot
    apply raises here, since a simulation is there to find it."""

    def __init__(self, log: Log, codec: Codec, models: Sequence[AnyModel] = READ_MODELS) -> None:
        self._log = log
        self._codec = codec
        self._position = 0
        self._tables: dict[str, dict[RowKey, Found[Any]]] = {model.name: {} for model in models}
        # For each row, from which position on it stood as it did; None: it was gone.
        self._versions: dict[str, dict[RowKey, list[tuple[int, Found[Any] | None]]]] = {m.name: {} for m in models}
        self._interested: dict[str, list[AnyModel]] = {}
        for model in models:
            for event in model.interests:
                self._interested.setdefault(tag_of(event), []).append(model)

    async def rows(self, query: Query[A], tenant_id: UUID | None, *args: Any) -> list[Found[A]]:
        await self._keep_up()
        rows: Iterable[Found[Any]]
        match query.over:
            case "rows":
                rows = self._tables[query.model.name].values()
            case "as_of":
                rows, args = self._as_of(query.model, args[0]), args[1:]
            case "versions":
                rows = self._all_versions(query.model)
            case "endings":
                rows = self._endings(query.model)
        if query.audience == "tenant":
            rows = [found for found in rows if found.tenant_id == tenant_id]
        return [_answer(query, found) for found in query.select(rows, *args)]

    async def one(self, query: Query[A], tenant_id: UUID | None, *args: Any) -> Found[A] | None:
        found = await self.rows(query, tenant_id, *args)
        return found[0] if found else None

    async def page(self, query: Query[A], tenant_id: UUID | None, *args: Any, after: int | None, limit: int) -> Page[A]:
        begin = query.beginning if after is None else after
        return cut(await self.rows(query, tenant_id, *args, begin, checked_limit(limit) + 1), limit)

    async def wait_for(self, position: int, queries: Iterable[AnyQuery] = (), *, seconds_max: float) -> bool:
        """Nothing has to be waited for: what is in the log is seen as soon as it is asked for."""
        await self._keep_up()
        return self._position >= position

    def table(self, model: AnyModel) -> dict[RowKey, Found[Any]]:
        """All rows of a model, as of the last question."""
        return self._tables[model.name]

    def _as_of(self, model: AnyModel, position: int) -> list[Found[Any]]:
        found: list[Found[Any]] = []
        for versions in self._versions[model.name].values():
            number = bisect_right(versions, position, key=lambda version: version[0])
            version = versions[number - 1][1] if number else None
            if version is not None:
                found.append(version)
        return found

    def _all_versions(self, model: AnyModel) -> list[Found[Any]]:
        every = (found for versions in self._versions[model.name].values() for _, found in versions)
        return [msgspec.structs.replace(found, first_position=found.position) for found in every if found is not None]

    def _endings(self, model: AnyModel) -> list[Found[Any]]:
        return [
            msgspec.structs.replace(last, first_position=position, position=position)
            for versions in self._versions[model.name].values()
            for (_, last), (position, found) in pairwise(versions)
            if found is None and last is not None
        ]

    async def _keep_up(self) -> None:
        while events := await self._log.read(self._position, limit=BATCH_EVENTS_MAX):
            for stored in events:
                self._apply(stored)
                self._position = stored.position

    def _apply(self, stored: StoredEvent) -> None:
        models = self._interested.get(stored.type, ())
        if not models:
            return
        recorded = Recorded(
            self._codec.decode(stored),
            stored.tenant_id,
            stored.stream_id,
            stored.version,
            stored.position,
            stored.recorded_at,
            stored.meta,
        )
        for model in models:
            for id in model.keys(recorded):
                self._change(model, (stored.tenant_id, id), recorded)

    def _change(self, model: AnyModel, key: RowKey, recorded: Recorded) -> None:
        table = self._tables[model.name]
        before = table.get(key)
        row = model.project(before.row if before else None, recorded)
        if row is None:
            if table.pop(key, None) is not None:
                self._remember(model, key, recorded.position, None)
        elif before is None or row is not before.row:
            first = before.first_position if before else recorded.position
            table[key] = found = Found(*key, first, recorded.position, msgspec.json.encode(row), row)
            self._remember(model, key, recorded.position, found)

    def _remember(self, model: AnyModel, key: RowKey, position: int, found: Found[Any] | None) -> None:
        if model.keeps_history:
            self._versions[model.name].setdefault(key, []).append((position, found))


def _answer(query: Query[A], found: Found[Any]) -> Found[A]:
    return msgspec.structs.replace(found, row=msgspec.json.decode(found.raw, type=query.answer))
