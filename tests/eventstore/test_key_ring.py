"""The tenants' keys: made once, asked for seldom, kept for a while, and wrapped anew with nobody noticing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from eventstore.database import connect
from eventstore.wrapped_keys import PostgresWrappedKeys
from process.key_ring import (
    FRESH_SECONDS,
    KEPT_SECONDS,
    REWRAPPED_AFTER,
    KeptKey,
    KeyRing,
    MemoryWrappedKeys,
    ServiceUnknown,
    WrappedBy,
    WrappedKeys,
)
from process.key_service import KeyServiceAway, KeyServiceRefused, WrappedKey, WrappingForged
from tests.support.key_service import MemoryKeyService

TENANT, OTHER = UUID(int=7), UUID(int=8)
PURPOSE = "function-secrets"


class _Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> WrappedKeys:
    if request.param == "memory":
        return MemoryWrappedKeys(_now)
    return PostgresWrappedKeys(request.getfixturevalue("database"))


@pytest.fixture
def service() -> MemoryKeyService:
    return MemoryKeyService()


class TestKey:
    async def test_is_the_same_for_ever_and_another_for_each_tenant_and_purpose(
        self, store: WrappedKeys, service: MemoryKeyService
    ) -> None:
        first = await KeyRing(store, current=service).key(TENANT, PURPOSE)

        again = KeyRing(store, current=service)
        assert await again.key(TENANT, PURPOSE) == first
        others = [await again.key(OTHER, PURPOSE), await again.key(TENANT, "person-keys")]
        assert len({first.key, *(one.key for one in others)}) == 3
        assert first.key.hex() not in repr(first)

    async def test_is_made_once_however_many_want_it(self, store: WrappedKeys, service: MemoryKeyService) -> None:
        """
        Goal: rivals in one process, and in several, end up with one key.
        Method: two rings over one store, each asked fifty times at once.
        """
        rings = [KeyRing(store, current=service), KeyRing(store, current=service)]

        keys = await asyncio.gather(*(ring.key(TENANT, PURPOSE) for ring in rings for _ in range(50)))

        assert len({key.key for key in keys}) == 1
        assert service.calls <= 3  # Each wraps one; who came second unwraps the first's.

    async def test_is_kept_so_that_the_service_is_seldom_asked(
        self, store: WrappedKeys, service: MemoryKeyService
    ) -> None:
        ring = KeyRing(store, current=service)

        for _ in range(100):
            await ring.key(TENANT, PURPOSE)

        assert service.calls == 1

    async def test_no_more_are_kept_than_allowed(self, store: WrappedKeys, service: MemoryKeyService) -> None:
        ring = KeyRing(store, current=service, kept_max=2)
        tenants = [uuid4() for _ in range(3)]
        for tenant in tenants:
            await ring.key(tenant, PURPOSE)
        calls = service.calls

        await ring.key(tenants[2], PURPOSE)
        assert service.calls == calls
        await ring.key(tenants[0], PURPOSE)
        assert service.calls == calls + 1

    async def test_put_in_the_place_of_another_tenants_is_refused(
        self, store: WrappedKeys, service: MemoryKeyService
    ) -> None:
        await KeyRing(store, current=service).key(TENANT, PURPOSE)
        kept = await store.find(TENANT, PURPOSE)
        assert kept is not None
        await store.add(OTHER, PURPOSE, kept)

        with pytest.raises(WrappingForged):
            await KeyRing(store, current=service).key(OTHER, PURPOSE)

    async def test_of_a_service_that_is_not_given_is_refused_by_name(
        self, store: WrappedKeys, service: MemoryKeyService
    ) -> None:
        await KeyRing(store, current=service).key(TENANT, PURPOSE)

        with pytest.raises(ServiceUnknown, match="memory:one"):
            await KeyRing(store, current=MemoryKeyService("memory:two")).key(TENANT, PURPOSE)

    async def test_is_not_made_where_nothing_closes(self, store: WrappedKeys, service: MemoryKeyService) -> None:
        with pytest.raises(KeyError):
            await KeyRing(store, current=None, former=[service]).key(TENANT, PURPOSE)


class TestAnOutage:
    async def test_stops_nobody_who_had_the_key_within_the_hour(
        self, store: WrappedKeys, service: MemoryKeyService
    ) -> None:
        clock = _Clock()
        ring = KeyRing(store, current=service, clock=clock)
        key = await ring.key(TENANT, PURPOSE)
        service.away = True

        for _ in range(int(KEPT_SECONDS / FRESH_SECONDS) - 1):
            clock.seconds += FRESH_SECONDS
            assert await ring.key(TENANT, PURPOSE) == key
            await asyncio.sleep(0.01)
        clock.seconds += FRESH_SECONDS
        with pytest.raises(KeyServiceAway):
            await ring.key(TENANT, PURPOSE)

        service.away = False
        assert await ring.key(TENANT, PURPOSE) == key

    async def test_keeps_no_one_waiting_who_has_the_key(self, store: WrappedKeys, service: MemoryKeyService) -> None:
        clock = _Clock()
        ring = KeyRing(store, current=service, clock=clock)
        key = await ring.key(TENANT, PURPOSE)
        service.held.clear()
        clock.seconds += FRESH_SECONDS

        async with asyncio.timeout(60):
            assert await ring.key(TENANT, PURPOSE) == key

        service.held.set()
        await ring.close()

    async def test_that_ends_leaves_the_key_as_fresh_as_before(
        self, store: WrappedKeys, service: MemoryKeyService
    ) -> None:
        clock = _Clock()
        ring = KeyRing(store, current=service, clock=clock)
        await ring.key(TENANT, PURPOSE)
        clock.seconds += FRESH_SECONDS
        await ring.key(TENANT, PURPOSE)
        await _quiet(ring)
        service.away = True
        clock.seconds += KEPT_SECONDS - 1

        await ring.key(TENANT, PURPOSE)
        await _quiet(ring)

    async def test_of_many_who_wait_reaches_each(self, store: WrappedKeys, service: MemoryKeyService) -> None:
        service.away = True
        ring = KeyRing(store, current=service)

        told = await asyncio.gather(*(ring.key(TENANT, PURPOSE) for _ in range(20)), return_exceptions=True)

        assert all(isinstance(one, KeyServiceAway) for one in told)
        assert await store.find(TENANT, PURPOSE) is None


class TestARefusal:
    async def test_ends_the_use_of_the_key_with_the_next_look(
        self, store: WrappedKeys, service: MemoryKeyService
    ) -> None:
        clock = _Clock()
        ring = KeyRing(store, current=service, clock=clock)
        await ring.key(TENANT, PURPOSE)
        service.refuses = True
        clock.seconds += FRESH_SECONDS

        await ring.key(TENANT, PURPOSE)
        await _quiet(ring)

        with pytest.raises(KeyServiceRefused):
            await ring.key(TENANT, PURPOSE)


class TestRewrap:
    async def test_goes_over_to_another_service_and_back_while_both_are_used(
        self, store: WrappedKeys, service: MemoryKeyService
    ) -> None:
        """
        Goal: at every moment of a change of services, processes of before and after have the same keys.
        Method: a ring that closes with the former and one that closes with the new service, neither keeping anything.
        """
        other = MemoryKeyService("memory:two")
        old = KeyRing(store, current=service, former=[other], kept_max=0)
        new = KeyRing(store, current=other, former=[service], kept_max=0)
        key = await old.key(TENANT, PURPOSE)
        late = await new.key(OTHER, PURPOSE)

        for ring, moved in ((new, 1), (old, 2), (new, 2)):
            assert await ring.rewrap(now=_now()) == moved
            assert await ring.rewrap(now=_now()) == 0
            assert [await one.key(TENANT, PURPOSE) for one in (old, new)] == [key, key]
            assert [await one.key(OTHER, PURPOSE) for one in (old, new)] == [late, late]

        assert await KeyRing(store, current=other).key(TENANT, PURPOSE) == key
        assert await store.counts() == [WrappedBy("memory:two", "1", 2)]

    async def test_brings_former_versions_out_of_use(self, store: WrappedKeys, service: MemoryKeyService) -> None:
        ring = KeyRing(store, current=service)
        await ring.key(TENANT, PURPOSE)
        service.rotate()

        assert await ring.rewrap(now=_now() + REWRAPPED_AFTER - timedelta(hours=1)) == 0
        assert await ring.rewrap(now=_now() + REWRAPPED_AFTER + timedelta(hours=1)) == 1
        assert await store.counts() == [WrappedBy("memory:one", "2", 1)]

    async def test_passes_over_what_cannot_be_unwrapped_and_says_so(
        self, store: WrappedKeys, service: MemoryKeyService
    ) -> None:
        await KeyRing(store, current=service).key(TENANT, PURPOSE)
        await store.add(UUID(int=1), PURPOSE, KeptKey(uuid4(), WrappedKey("memory:gone", "1", b"lost")))
        new = KeyRing(store, current=MemoryKeyService("memory:two"), former=[service])

        with pytest.raises(ServiceUnknown, match="memory:gone"):
            await new.rewrap(now=_now())

        assert await store.counts() == [WrappedBy("memory:gone", "1", 1), WrappedBy("memory:two", "1", 1)]

    async def test_of_rivals_is_done_once(self, store: WrappedKeys, service: MemoryKeyService) -> None:
        other = MemoryKeyService("memory:two")
        key = await KeyRing(store, current=service).key(TENANT, PURPOSE)
        rings = [KeyRing(store, current=other, former=[service]) for _ in range(4)]

        await asyncio.gather(*(ring.rewrap(now=_now()) for ring in rings))

        assert await KeyRing(store, current=other).key(TENANT, PURPOSE) == key


async def test_the_apis_role_neither_lists_keys_nor_changes_them(database_url: str, service: MemoryKeyService) -> None:
    async with connect(database_url, role="dcf_app", size_max=1) as app:
        store = PostgresWrappedKeys(app)
        await KeyRing(store, current=service).key(TENANT, PURPOSE)
        kept = await store.find(TENANT, PURPOSE)
        assert kept is not None

        with pytest.raises(Exception, match="permission denied"):
            await store.to_rewrap("x", before=_now(), after=(UUID(int=0), ""), limit=1)
        with pytest.raises(Exception, match="permission denied"):
            await store.rewrap(TENANT, PURPOSE, kept.wrapped, former=kept.wrapped)
        with pytest.raises(Exception, match="permission denied"):
            await app.fetch("SELECT wrapped FROM vault.tenant_keys")


async def test_leaving_closes_the_services(store: WrappedKeys, service: MemoryKeyService) -> None:
    await KeyRing(store, current=service).close()

    assert service.closed


async def _quiet(ring: KeyRing) -> None:
    """Until nothing is under way."""
    async with asyncio.timeout(60):
        while ring._asked:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0)


def _now() -> datetime:
    return datetime.now(UTC)
