"""Times as positions: PostgreSQL finds what looking through the log finds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
from hypothesis import given
from hypothesis import strategies as st

from eventstore.database import connect
from eventstore.instants import LogInstants, PostgresInstants
from tests.projections.history import History, memory_log
from tests.support import a

_INSERT = """
    INSERT INTO log.events (position, tenant_id, stream_id, version, type, schema_version, recorded_at, meta, data)
    SELECT n, $1, $1, n, 'x', 1, timestamptz '2026-01-01Z' + (n / 7) * interval '1 second', '', ''
      FROM generate_series(1, 5000) n
"""
_START = datetime(2026, 1, 1, tzinfo=UTC)


class TestPostgresInstants:
    async def test_find_the_last_event_of_every_time_and_the_time_of_every_position(self, database_url: str) -> None:
        """Seven events share a second; every edge is tried."""
        async with connect(database_url, role="dcf_app", size_max=1) as database:
            instants = PostgresInstants(database)
            assert await instants.position_at(_START) == 0
            assert await instants.recorded_at(5) is None
            owner = await asyncpg.connect(database_url)
            await owner.execute(_INSERT, uuid4())
            await owner.close()

            for second in (0, 1, 2, 300, 713, 714):
                last = min(second * 7 + 6, 5000)
                assert await instants.position_at(_START + timedelta(seconds=second)) == last
                assert await instants.position_at(_START + timedelta(seconds=second, microseconds=-1)) == second * 7 - (
                    1 if second else 0
                )
                assert await instants.recorded_at(last) == _START + timedelta(seconds=second)
            assert await instants.recorded_at(9_999) == await instants.recorded_at(5_000)
            assert await instants.recorded_at(0) is None


class TestLogInstants:
    @given(count=st.integers(0, 20), second=st.integers(-1, 22))
    async def test_halve_their_way_to_the_place(self, count: int, second: int) -> None:
        log = memory_log()
        await History(log).record_together(a.project_renamed(f"P{n}") for n in range(count))
        await History(log).record(*(a.project_created(a.id_of(100 + n)) for n in range(count)))
        at = a.AT + timedelta(seconds=second)

        found = await LogInstants(log).position_at(at)

        everything = await log.read(0, limit=100)
        assert found == sum(1 for event in everything if event.recorded_at <= at)
        assert await LogInstants(log).recorded_at(found) == (everything[found - 1].recorded_at if found else None)
