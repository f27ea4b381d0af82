"""The tenants' keys: one a tenant and purpose, wrapped by a key service, and kept unwrapped for a while by who uses them.

A value's or a person's own key is wrapped by its tenant's, in this process; so the service is asked once a tenant and purpose,
and not for each value. What is kept is bounded in number and time: a service that is away stops nobody who had the key within
the last hour, and one that refuses (its key was disabled, our right taken away) ends the use of the key with the next look.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID, uuid4

import msgspec
import structlog

from process.key_service import (
    KeyContext,
    KeyService,
    KeyServiceRefused,
    KeyServiceUnusable,
    WrappedKey,
    WrappingForged,
)

KEY_BYTES = 32
KEPT_MAX = 10_000
# After these a kept key is asked for anew, while it goes on to be used.
FRESH_SECONDS = 300.0
KEPT_SECONDS = 3600.0
REWRAPPED_AT_ONCE = 500
# Wrapped anew after these although nothing changed, so that the service's former versions come out of use.
REWRAPPED_AFTER = timedelta(days=30)

log = structlog.get_logger()

Place = tuple[UUID, str]
FIRST: Place = (UUID(int=0), "")


class TenantKey(msgspec.Struct, frozen=True):
    """A tenant's key for one purpose, in the clear: it hides itself."""

    key_id: UUID
    key: bytes

    def __repr__(self) -> str:
        return f"TenantKey({self.key_id}, ********)"


class KeptKey(msgspec.Struct, frozen=True):
    """A tenant's key as it is stored."""

    key_id: UUID
    wrapped: WrappedKey


class WrappedBy(msgspec.Struct, frozen=True):
    """How many tenants' keys a version of a service's key wraps."""

    service: str
    version: str
    held: int


class WrappedKeys(Protocol):
    """Stores tenants' keys, wrapped: one a tenant and purpose, for ever the same."""

    async def find(self, tenant_id: UUID, purpose: str) -> KeptKey | None: ...

    async def add(self, tenant_id: UUID, purpose: str, kept: KeptKey) -> KeptKey:
        """Store it unless there is one; what there is now."""
        ...

    async def to_rewrap(
        self, service: str, *, before: datetime, after: Place, limit: int
    ) -> list[tuple[UUID, str, KeptKey]]:
        """Those that another service wraps, or this one wrapped before an instant, in order, from behind a place on."""
        ...

    async def rewrap(self, tenant_id: UUID, purpose: str, wrapped: WrappedKey, *, former: WrappedKey) -> None:
        """Put another wrapping of the same key in the place of the former one, if that is still there."""
        ...

    async def counts(self) -> list[WrappedBy]: ...


class ServiceUnknown(Exception):
    """A key is wrapped by a service that is not given. The message names it."""

    def __init__(self, service: str) -> None:
        super().__init__(f"A key is wrapped by {service}, which is not given; see DCF_FORMER_MASTER_KEY_SERVICES.")


class _Kept:
    """A key in the clear. It is looked after anew from `stale_at` on and not used any more from `ends_at` on."""

    __slots__ = ("ends_at", "key", "stale_at")

    def __init__(self, key: TenantKey, now: float, kept_seconds: float) -> None:
        self.key = key
        self.stale_at, self.ends_at = now + min(FRESH_SECONDS, kept_seconds), now + kept_seconds


class KeyRing:
    """Gives tenants' keys. `current` wraps from now on; without it none is made, and `former` open what they wrapped."""

    def __init__(
        self,
        store: WrappedKeys,
        *,
        current: KeyService | None,
        former: Iterable[KeyService] = (),
        kept_seconds: float = KEPT_SECONDS,
        kept_max: int = KEPT_MAX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._current, self._clock = store, current, clock
        self._services = {one.name: one for one in (*former, *(() if current is None else (current,)))}
        self._kept_seconds, self._kept_max = kept_seconds, kept_max
        self._kept: OrderedDict[Place, _Kept] = OrderedDict()
        self._asked: dict[Place, asyncio.Task[TenantKey]] = {}

    @property
    def closes(self) -> bool:
        """Whether what is closed from now on is closed by a tenant's key."""
        return self._current is not None

    @property
    def service(self) -> str:
        """The name of what wraps from now on; empty for none."""
        return "" if self._current is None else self._current.name

    async def key(self, tenant_id: UUID, purpose: str) -> TenantKey:
        """The tenant's key, made when there is none and a service to wrap it.

        A key that was had lately is given at once, whatever the service does. Raises KeyServiceUnusable, ServiceUnknown,
        WrappingForged; KeyError when there is none and none is made.
        """
        place, now = (tenant_id, purpose), self._clock()
        kept = self._kept.get(place)
        if kept is None or now >= kept.ends_at:
            return await asyncio.shield(self._ask(place))
        self._kept.move_to_end(place)
        if now >= kept.stale_at and place not in self._asked:
            kept.stale_at = now + min(FRESH_SECONDS, self._kept_seconds) / 10
            self._ask(place).add_done_callback(self._looked_after(place))
        return kept.key

    def _ask(self, place: Place) -> asyncio.Task[TenantKey]:
        """However many want the key, the service is asked once; and what one began does not end with them."""
        if (under_way := self._asked.get(place)) is not None:
            return under_way
        task = self._asked[place] = asyncio.create_task(self._found(place))
        task.add_done_callback(lambda done: self._noted(place, done))
        return task

    def _noted(self, place: Place, done: asyncio.Task[TenantKey]) -> None:
        self._asked.pop(place, None)
        if done.cancelled() or done.exception() is not None:  # Asked for its exception, it does not tell of it unheard.
            return
        self._kept.pop(place, None)
        self._kept[place] = _Kept(done.result(), self._clock(), self._kept_seconds)
        while len(self._kept) > self._kept_max:
            self._kept.popitem(last=False)

    def _looked_after(self, place: Place) -> Callable[[asyncio.Task[TenantKey]], None]:
        def look(done: asyncio.Task[TenantKey]) -> None:
            problem = None if done.cancelled() else done.exception()
            if isinstance(problem, KeyServiceRefused | WrappingForged | ServiceUnknown):
                self._kept.pop(place, None)
                log.error("key_taken_away", tenant_id=str(place[0]), purpose=place[1], problem=str(problem))
            elif problem is not None:
                log.warning("key_not_looked_after", tenant_id=str(place[0]), purpose=place[1], problem=str(problem))

        return look

    async def _found(self, place: Place) -> TenantKey:
        kept = await self._store.find(*place)
        if kept is None:
            return await self._made(place)
        return await self._unwrapped(place, kept)

    async def _made(self, place: Place) -> TenantKey:
        if self._current is None:
            raise KeyError(place)
        own = TenantKey(uuid4(), os.urandom(KEY_BYTES))
        wrapped = await self._current.wrap(own.key, _context(place, own.key_id))
        kept = await self._store.add(*place, KeptKey(own.key_id, wrapped))
        return own if kept.key_id == own.key_id else await self._unwrapped(place, kept)

    async def _unwrapped(self, place: Place, kept: KeptKey) -> TenantKey:
        service = self._services.get(kept.wrapped.service)
        if service is None:
            raise ServiceUnknown(kept.wrapped.service)
        return TenantKey(kept.key_id, await service.unwrap(kept.wrapped, _context(place, kept.key_id)))

    async def rewrap(self, *, now: datetime) -> int:
        """Wrap by the current service what others wrap, and what it wrapped long ago; how many there were.

        It may be interrupted, and done again, at any time, by several at once. The keys stay what they are, so that whoever
        keeps one uses it on. What cannot be unwrapped is passed over; raises the first such problem at the end.
        """
        if self._current is None:
            return 0
        count, after = 0, FIRST
        first: Exception | None = None
        before = now - REWRAPPED_AFTER
        while found := await self._store.to_rewrap(
            self._current.name, before=before, after=after, limit=REWRAPPED_AT_ONCE
        ):
            for tenant_id, purpose, kept in found:
                place = (tenant_id, purpose)
                try:
                    plain = await self._unwrapped(place, kept)
                    again = await self._current.wrap(plain.key, _context(place, kept.key_id))
                except (ServiceUnknown, WrappingForged, KeyServiceUnusable) as problem:
                    first = first or problem
                    continue
                await self._store.rewrap(*place, again, former=kept.wrapped)
                count += 1
            after = found[-1][:2]
        if first is not None:
            raise first
        return count

    async def counts(self) -> list[WrappedBy]:
        """How many keys each version of each service's key wraps."""
        return await self._store.counts()

    async def close(self) -> None:
        """Stop what is under way."""
        tasks = list(self._asked.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for service in self._services.values():
            await service.close()


def _context(place: Place, key_id: UUID) -> KeyContext:
    return KeyContext(*place, key_id)


class MemoryWrappedKeys:
    """The tenants' keys of a service in memory."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._kept: dict[Place, KeptKey] = {}
        self._wrapped_at: dict[Place, datetime] = {}

    async def find(self, tenant_id: UUID, purpose: str) -> KeptKey | None:
        return self._kept.get((tenant_id, purpose))

    async def add(self, tenant_id: UUID, purpose: str, kept: KeptKey) -> KeptKey:
        place = (tenant_id, purpose)
        if place not in self._kept:
            self._kept[place], self._wrapped_at[place] = kept, self._clock()
        return self._kept[place]

    async def to_rewrap(
        self, service: str, *, before: datetime, after: Place, limit: int
    ) -> list[tuple[UUID, str, KeptKey]]:
        found = [
            (*place, kept)
            for place, kept in sorted(self._kept.items())
            if place > after and (kept.wrapped.service != service or self._wrapped_at[place] < before)
        ]
        return found[:limit]

    async def rewrap(self, tenant_id: UUID, purpose: str, wrapped: WrappedKey, *, former: WrappedKey) -> None:
        place = (tenant_id, purpose)
        if (kept := self._kept.get(place)) is not None and kept.wrapped == former:
            self._kept[place], self._wrapped_at[place] = KeptKey(kept.key_id, wrapped), self._clock()

    async def counts(self) -> list[WrappedBy]:
        found: dict[tuple[str, str], int] = {}
        for kept in self._kept.values():
            by = (kept.wrapped.service, kept.wrapped.version)
            found[by] = found.get(by, 0) + 1
        return [WrappedBy(*by, held) for by, held in sorted(found.items())]


def tally_by(counts: Iterable[WrappedBy], service: str) -> Mapping[bool, int]:
    """How many the service wraps (true), and others (false)."""
    found = {True: 0, False: 0}
    for one in counts:
        found[one.service == service] += one.held
    return found
