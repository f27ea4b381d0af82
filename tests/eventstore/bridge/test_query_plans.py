"""What the bridge asks stays on indexes, also while tables are so small that PostgreSQL would rather scan them."""

from __future__ import annotations

from uuid import UUID, uuid4

import asyncpg
import pytest
from eventsourcing.persistence import StoredEvent, Tracking
from eventsourcing.utils import Environment

from eventstore.bridge import Factory
from tests.eventstore.bridge.environments import environment
from tests.eventstore.make import TENANT
from tests.eventstore.test_query_plans import sessions_gone

_SCANS = """
    SELECT relname, seq_scan
      FROM pg_stat_user_tables
     WHERE schemaname IN ('log', 'work') AND relname NOT IN ('layout', 'epochs') AND seq_scan > 0
"""

_RESET = "ANALYZE; SELECT pg_stat_reset()"


@pytest.mark.parametrize("tenant_id", [TENANT, None], ids=["one tenant", "all tenants"])
async def test_no_table_is_scanned(database_url: str, tenant_id: UUID | None) -> None:
    """*Method:* as for the log itself: statistics of tiny tables, then the server's own count of scans."""
    observer = await asyncpg.connect(database_url)
    use_everything(environment(database_url, tenant_id), rounds=1)
    await observer.execute(_RESET)

    use_everything(environment(database_url, tenant_id), rounds=12)
    await sessions_gone(observer)

    assert await observer.fetch(_SCANS) == []
    await observer.close()


def use_everything(env: dict[str, str], *, rounds: int) -> None:
    with Factory(Environment(uuid4().hex, env)) as factory:
        process, snapshots = factory.process_recorder(), factory.aggregate_recorder("snapshots")
        for n in range(1, rounds + 1):
            id = uuid4()
            events = [StoredEvent(id, version, "shop:Sold", b"{}") for version in (1, 2, 3)]
            process.insert_events(events[:2], tracking=Tracking("upstream", n))
            process.insert_events(events[2:])
            snapshots.insert_events(events[1:2])
            for recorder in (process, snapshots):
                recorder.select_events(id)
                recorder.select_events(id, gt=1, desc=True, limit=1)
            process.select_notifications(n, 5, topics=["shop:Sold"])
            process.max_notification_id()
            process.max_tracking_id("upstream")
