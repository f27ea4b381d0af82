"""The view the library's projection test cases ask for: two counts, kept in a table of the application's own."""

from __future__ import annotations

from typing import Any

from eventsourcing.persistence import Tracking
from eventsourcing.tests.projection import EventCountersView

from eventstore.bridge.datastore import Datastore, Reach
from eventstore.bridge.recorders import LogTrackingRecorder
from eventstore.database import Connection


class CountersInPostgres(LogTrackingRecorder, EventCountersView):
    def __init__(self, datastore: Datastore, *, name: str) -> None:
        super().__init__(datastore, name=name)
        self.datastore.ask(self._create)

    def get_created_event_counter(self) -> int:
        return self._count("created")

    def get_subsequent_event_counter(self) -> int:
        return self._count("subsequent")

    def incr_created_event_counter(self, tracking: Tracking) -> None:
        self._increase("created", tracking)

    def incr_subsequent_event_counter(self, tracking: Tracking) -> None:
        self._increase("subsequent", tracking)

    async def _create(self, reach: Reach) -> None:
        await reach.database.execute(
            "CREATE TABLE IF NOT EXISTS views.event_counters (name text PRIMARY KEY, count bigint NOT NULL)"
        )

    def _count(self, name: str) -> int:
        async def count(reach: Reach) -> Any:
            return await reach.database.fetchval("SELECT count FROM views.event_counters WHERE name = $1", name)

        return self.datastore.ask(count) or 0

    def _increase(self, name: str, tracking: Tracking) -> None:
        async def increase(connection: Connection) -> None:
            await connection.execute(
                "INSERT INTO views.event_counters AS c VALUES ($1, 1)"
                " ON CONFLICT (name) DO UPDATE SET count = c.count + 1",
                name,
            )

        self.insert_tracking_with(tracking, increase)
