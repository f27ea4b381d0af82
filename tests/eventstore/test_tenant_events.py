"""One tenant's events: PostgreSQL and a look through the whole log find the same, and nobody else's."""

from __future__ import annotations

from uuid import UUID

from eventstore.archive.whole import Shelf
from eventstore.database import Pool
from eventstore.log import StoredEvent
from eventstore.tenant_events import LogTenantEvents, PostgresTenantEvents, TenantEvents
from tests.projections.conftest import app, database, history, log
from tests.projections.history import History
from tests.projections.stories import STORIES, about_others
from tests.support import a

__all__ = ["app", "database", "history", "log"]


async def _all(events: TenantEvents, tenant_id: UUID, *, after: int, up_to: int) -> list[StoredEvent]:
    found: list[StoredEvent] = []
    while after < up_to:
        piece = await events.after(tenant_id, after, up_to=up_to)
        found += piece.events
        assert piece.position > after
        after = piece.position
    return found


class TestTenantEvents:
    async def test_are_found_in_order_and_by_both(self, app: Pool, history: History) -> None:
        for number in range(1, 40):
            await history.record_together(about_others(STORIES["deployed and undeployed"], number % 3))
        await history.record_together(STORIES["did not compile"])
        end = await history.log.head()
        every = await history.log.read(0, limit=end)

        for tenant_id in (a.TENANT_ID, about_others(STORIES["did not compile"], 1)[1].stream.tenant_id, UUID(int=9)):
            for after, up_to in ((0, end), (17, end - 40)):
                own = [e for e in every if e.tenant_id == tenant_id and after < e.position <= up_to]
                for events in (PostgresTenantEvents(app, Shelf(None)), LogTenantEvents(history.log)):
                    assert await _all(events, tenant_id, after=after, up_to=up_to) == own
