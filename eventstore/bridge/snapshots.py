"""Snapshots, and whatever else an application keeps by an aggregate recorder of another purpose than its events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from eventsourcing.persistence import AggregateRecorder, StoredEvent

from eventstore.bridge.datastore import Reach
from eventstore.bridge.errors import as_the_librarys
from eventstore.bridge.reading import Span, tenant_of
from eventstore.bridge.recorded import stream_id
from eventstore.bridge.recorders import LogRecorder, span_of

_PUT = "SELECT work.put_snapshots($1, $2, $3, $4, $5, $6)"

_GET = "SELECT version, topic, state FROM work.get_snapshots($1, $2, $3, $4, $5, $6, $7)"


class SnapshotRecorder(LogRecorder, AggregateRecorder):
    """Versions have gaps here, and nothing is part of the log."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """All or nothing. Raises IntegrityError when a version is there already."""
        if stored_events:
            with as_the_librarys():
                self.datastore.once(lambda reach: self._put(reach, stored_events))
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        id, span = stream_id(originator_id), span_of(gt, lte, desc=desc, limit=limit)
        with as_the_librarys():
            return self.datastore.ask(lambda reach: self._get(reach, id, span))

    async def _put(self, reach: Reach, stored_events: Sequence[StoredEvent]) -> None:
        ids = [stream_id(event.originator_id) for event in stored_events]
        await reach.database.execute(
            _PUT,
            [await tenant_of(reach, id) for id in ids],
            self.name,
            ids,
            [event.originator_version for event in stored_events],
            [event.topic for event in stored_events],
            [event.state for event in stored_events],
        )

    async def _get(self, reach: Reach, id: UUID, span: Span) -> list[StoredEvent]:
        bounds = msgspec.structs.astuple(span)
        rows = await reach.database.fetch(_GET, await tenant_of(reach, id), self.name, id, *bounds)
        return [StoredEvent(id, version, topic, state) for version, topic, state in rows]
