"""An append as a recorder makes it: to its own streams only, and with its tracking in the same transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from uuid import UUID

from eventstore.batch import send_tracked
from eventstore.bridge.datastore import Reach, asked
from eventstore.limits import append_bytes
from eventstore.log import Append, Appended, Duplicate, Outcome
from eventstore.tracking import Tracking

Homes = Mapping[UUID, UUID]


async def record(
    reach: Reach, first_versions: Mapping[UUID, int], write: Callable[[Homes], Append], tracking: Tracking | None
) -> Outcome:
    """As Log.append, of what `write` makes when told each stream's tenant.

    Raises asyncpg.UniqueViolationError when the tracking was recorded before; AmbiguousStream, ServiceStream.
    """
    homes = await asked(lambda reach: reach.streams.homes(first_versions), reach)
    append = write(homes)
    outcome = await (reach.log.append(append) if tracking is None else _append_tracked(reach, append, tracking))
    if isinstance(outcome, Appended | Duplicate):
        reach.streams.began(homes)
    return outcome


async def _append_tracked(reach: Reach, append: Append, tracking: Tracking) -> Outcome:
    append_bytes(append)

    async def send(reach: Reach) -> Outcome:
        async with reach.database.acquire() as connection:
            return await send_tracked(connection, append, tracking, 0)

    # Sent twice it is recorded once: the log knows the command's id.
    return await asked(send, reach)
