"""Events read by the thousand are the very events that were recorded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from uuid import uuid4

from eventstore.database import Pool
from eventstore.log import StoredEvent
from eventstore.selection import SELECTED, stored_events

_SPAN = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2242, 1, 1, tzinfo=UTC))
_MICROSECOND = timedelta(microseconds=1)
_EVENTS = 5_000

_INSERT = """
    INSERT INTO log.events (position, tenant_id, stream_id, version, type, schema_version, recorded_at, meta, data)
    SELECT n, $2, $3, n, 'x.happened', 1, at, 'm', 'd'
      FROM unnest($1::timestamptz[]) WITH ORDINALITY t (at, n)
"""


class TestStoredEvents:
    async def test_have_the_times_of_their_recording_to_the_microsecond(self, owner: Pool) -> None:
        begin, end = _SPAN
        chance = Random(1)
        times = [begin + chance.randrange((end - begin) // _MICROSECOND) * _MICROSECOND for _ in range(_EVENTS)]
        times += [begin, end, begin + _MICROSECOND, end - _MICROSECOND]
        tenant_id, stream_id = uuid4(), uuid4()
        await owner.execute(_INSERT, times, tenant_id, stream_id)

        found = stored_events(await owner.fetch(f"SELECT {SELECTED} FROM log.events e ORDER BY e.position"))

        assert found == [
            StoredEvent(n, tenant_id, stream_id, n, "x.happened", 1, at, b"m", b"d") for n, at in enumerate(times, 1)
        ]
        assert {event.recorded_at.tzinfo for event in found} == {UTC}

    def test_of_no_rows_are_none(self) -> None:
        assert stored_events([]) == []
