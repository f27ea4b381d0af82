"""The read models in memory: folded from the log whenever they are asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from eventstore.codec import Codec, tag_of
from eventstore.log import Log, StoredEvent
from projections.catalogue import READ_MODELS
from projections.memory_tables import MemoryTables
from projections.query import AnyQuery, Found, Query
from projections.read_model import AnyModel, RowKey
from projections.reader import AnsweringByRows
from projections.recorded import Recorded

A = TypeVar("A")

BATCH_EVENTS_MAX = 1_000


class MemoryReader(AnsweringByRows):
    """The Reader of a log in memory (or any log: it is the plainest fold there is). An event that a read model cannot
    apply raises here, since a simulation is there to find it."""

    def __init__(self, log: Log, codec: Codec, models: Sequence[AnyModel] = READ_MODELS) -> None:
        self._log = log
        self._codec = codec
        self._position = 0
        self.tables = MemoryTables(models)
        self._interested: dict[str, list[AnyModel]] = {}
        for model in models:
            for event in model.interests:
                self._interested.setdefault(tag_of(event), []).append(model)

    async def rows(self, query: Query[A], tenant_id: UUID | None, *args: Any) -> list[Found[A]]:
        await self._keep_up()
        return self.tables.rows(query, tenant_id, *args)

    async def wait_for(self, position: int, queries: Iterable[AnyQuery] = (), *, seconds_max: float) -> bool:
        """Nothing has to be waited for: what is in the log is seen as soon as it is asked for."""
        await self._keep_up()
        return self._position >= position

    def table(self, model: AnyModel) -> dict[RowKey, Found[Any]]:
        """All rows of a model, as of the last question."""
        return self.tables.of(model)

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
        before = self.tables.of(model).get(key)
        row = model.project(before.row if before else None, recorded)
        if row is None:
            self.tables.drop(model, key, recorded.position)
        elif before is None or row is not before.row:
            first = before.first_position if before else recorded.position
            found = Found(*key, first, recorded.position, msgspec.json.encode(row), row)
            self.tables.put(model, key, found)
