"""How far somebody who follows the log has come: kept beside what they made of it."""

from __future__ import annotations

from uuid import UUID

import msgspec

from eventstore.database import Queries

_TRACK = "SELECT work.track($1, $2, $3, $4)"

_TRACKED = "SELECT work.tracked($1, $2, $3)"


class Tracking(msgspec.Struct, frozen=True):
    """`consumer` has taken in everything of `application` up to and including the position `notification_id`."""

    tenant_id: UUID
    consumer: str
    application: str
    notification_id: int


async def track(database: Queries, tracking: Tracking) -> None:
    """Record it. Raises asyncpg.UniqueViolationError when the consumer has come as far already."""
    await database.execute(_TRACK, *msgspec.structs.astuple(tracking))


async def tracked(database: Queries, tenant_id: UUID, *, consumer: str, application: str) -> int | None:
    """The furthest position that was tracked."""
    position: int | None = await database.fetchval(_TRACKED, tenant_id, consumer, application)
    return position
