"""A fact that was recorded, and the description of an aggregate whose facts they are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec

# Facts and aggregates that belong to no customer (runtimes, plans, people) live in this tenant.
SYSTEM_TENANT = UUID(int=0)

S = TypeVar("S")

# So many streams are remembered by their ids.
STREAMS_MAX = 10_000


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", rename="camel"):
    """Base of every stored fact. A subclass names its permanent tag: `tag="deployment.queued"`.

    `at` is the time the log recorded the fact. It is never part of the stored data: decisions leave it
    out and the log fills it in when the event is read, so every reader sees the log's own clock.
    """

    at: datetime | None = None


class StreamRef(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """One aggregate's stream: `category` is the aggregate's name, `id` is unique within the tenant."""

    tenant_id: UUID
    category: str
    id: UUID


_STREAMS: dict[tuple[str, int, int], StreamRef] = {}


def _never(_state: Any) -> bool:
    return False


class Aggregate(msgspec.Struct, Generic[S], frozen=True):
    """What the log needs to know to fold one kind of stream.

    Nothing is recorded any more in a stream that `is_over`, so that its events may leave for an archive once they are old.
    """

    name: str
    events: tuple[type[Event], ...]
    initial: S
    evolve: Callable[[S, Any], S]
    is_over: Callable[[S], bool] = _never

    @property
    def ends(self) -> bool:
        """Whether its streams can be over at all."""
        return self.is_over is not _never

    def stream(self, tenant_id: UUID, id: UUID) -> StreamRef:
        """The same object for the same stream, mostly: what is the same object is equal without looking into it."""
        key = (self.name, tenant_id.int, id.int)
        known = _STREAMS.get(key)
        if known is None:
            if len(_STREAMS) >= STREAMS_MAX:
                _STREAMS.clear()
            known = _STREAMS[key] = StreamRef(tenant_id=tenant_id, category=self.name, id=id)
        return known


class Fact(msgspec.Struct, frozen=True):
    """An event and the stream it belongs to."""

    stream: StreamRef
    event: Event


class Claim(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Takes (or, with `release`, gives back) the one place there is for `key` within a tenant and scope.

    Taking a key the same holder already has, and releasing one it does not have, change nothing.
    """

    tenant_id: UUID
    scope: str
    key: str
    holder: UUID
    release: bool = False


class Counter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Moves a count by `delta`; refused when that would pass `limit` (checked only when `delta` is positive)."""

    tenant_id: UUID
    scope: str
    name: str
    delta: int
    limit: int | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """All that one command sets in motion: recorded together or not at all."""

    facts: tuple[Fact, ...] = ()
    claims: tuple[Claim, ...] = ()
    counters: tuple[Counter, ...] = ()
