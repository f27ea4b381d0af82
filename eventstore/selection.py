"""Events read by the thousand: what is selected of them, and how such rows become events.

The driver makes each time out of two others, which takes nearly half of what it takes for an event. So the server hands
times over as numbers of seconds, and all of them become times at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from eventstore.database import Row
from eventstore.log import StoredEvent

# Of `log.events e`, in the order of StoredEvent. The seconds are a double's, which tells microseconds apart until the
# year 2242.
SELECTED = """e.position, e.tenant_id, e.stream_id, e.version, e.type, e.schema_version,
           date_part('epoch', e.recorded_at), e.meta, e.data"""


def stored_events(rows: Sequence[Row]) -> list[StoredEvent]:
    """What was SELECTED, as events."""
    if not rows:
        return []
    *identity, seconds, meta, data = zip(*rows, strict=True)
    times = msgspec.convert(seconds, list[datetime], strict=False)
    return list(map(StoredEvent, *identity, times, meta, data))
