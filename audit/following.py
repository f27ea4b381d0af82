"""The log followed as it grows: each event once, in order, soon after it is recorded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec

from eventstore.log import Log
from projections.query import Found, Query
from projections.reader import Reader

A = TypeVar("A")

# Whoever follows is asked to come back after this long, so that a credential that was revoked ends what it began.
FOLLOW_SECONDS_MAX = 900.0
# A connection on which nothing is said for longer is taken for dead on the way.
SILENCE_SECONDS_MAX = 15.0
# While much is recorded, a follower asks the database this often and no more.
PAUSE_SECONDS = 0.05
_PAGE_EVENTS = 200


class Followed(msgspec.Struct, Generic[A], frozen=True):
    """An event, or none: there was nothing new up to the position."""

    event: Found[A] | None
    position: int


async def following(
    log: Log,
    reader: Reader,
    query: Query[A],
    tenant_id: UUID | None,
    values: tuple[Any, ...],
    *,
    after: int,
    up_to: int | None = None,
    seconds_max: float = FOLLOW_SECONDS_MAX,
) -> AsyncIterator[Followed[A]]:
    """What a list, oldest first, finds after a position, for as long as the caller wants, or until `up_to`."""
    end = time.monotonic() + seconds_max
    seen = after
    while time.monotonic() < end and (up_to is None or seen < up_to):
        head = await log.head()
        if head > seen and await reader.wait_for(head, (query,), seconds_max=SILENCE_SECONDS_MAX):
            page = await reader.page(query, tenant_id, *values, after=seen, limit=_PAGE_EVENTS)
            for found in page.items:
                yield Followed(found, found.position)
            # What was looked through need not be looked through again, however little of it was wanted. The page may hold more
            # than there was when the head was asked for.
            last = page.items[-1].position if page.items else 0
            seen = max(head, last) if page.next_after is None else page.next_after
            await asyncio.sleep(PAUSE_SECONDS if page.next_after is None else 0)
        elif not await log.wait_beyond(seen, seconds_max=min(SILENCE_SECONDS_MAX, max(0.0, end - time.monotonic()))):
            yield Followed(None, seen)
