"""Values of secrets: closed, opened by whoever may, wrapped anew."""

from __future__ import annotations

from uuid import UUID, uuid4

import asyncpg
import pytest

from eventstore.database import connect
from eventstore.secret_values import (
    MemorySecretStore,
    PostgresSecretStore,
    SecretLost,
    SecretStore,
    SecretVault,
    opened,
)
from eventstore.wrapping import key_id_of
from process.secret import Secret
from tests.eventstore.make import TENANT

FUNCTION, VALUE = uuid4(), uuid4()
KEY, NEW_KEY = b"k" * 32, b"n" * 32
PASSWORD = Secret("correct horse battery staple")


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> SecretStore:
    if request.param == "memory":
        return MemorySecretStore()
    return PostgresSecretStore(request.getfixturevalue("database"))


class TestOpen:
    async def test_gives_back_what_was_closed(self, store: SecretStore) -> None:
        vault = SecretVault(store, key=KEY)
        await vault.close(TENANT, FUNCTION, VALUE, PASSWORD)

        assert await vault.open(TENANT, FUNCTION, VALUE) == PASSWORD
        assert await opened(vault, TENANT, FUNCTION, {"PASSWORD": VALUE}) == {"PASSWORD": PASSWORD}

    async def test_gives_the_first_of_two_under_one_id(self, store: SecretStore) -> None:
        vault = SecretVault(store, key=KEY)
        await vault.close(TENANT, FUNCTION, VALUE, PASSWORD)
        await vault.close(TENANT, FUNCTION, VALUE, Secret("another"))

        assert await vault.open(TENANT, FUNCTION, VALUE) == PASSWORD

    async def test_refuses_another_function_tenant_or_value(self, store: SecretStore) -> None:
        vault = SecretVault(store, key=KEY)
        await vault.close(TENANT, FUNCTION, VALUE, PASSWORD)

        for ids in ((TENANT, uuid4(), VALUE), (uuid4(), FUNCTION, VALUE), (TENANT, FUNCTION, uuid4())):
            with pytest.raises(SecretLost):
                await vault.open(*ids)

    async def test_refuses_a_value_put_in_the_place_of_another(self, store: SecretStore) -> None:
        vault, other = SecretVault(store, key=KEY), uuid4()
        await vault.close(TENANT, FUNCTION, VALUE, PASSWORD)
        closed = await store.find(TENANT, VALUE)
        assert closed is not None
        await store.add(TENANT, other, closed)

        with pytest.raises(SecretLost):
            await vault.open(TENANT, FUNCTION, other)

    async def test_names_the_secret_that_is_lost(self, store: SecretStore) -> None:
        with pytest.raises(SecretLost, match=r"^PASSWORD: "):
            await opened(SecretVault(store, key=KEY), TENANT, FUNCTION, {"PASSWORD": VALUE})


class TestClosed:
    async def test_shows_nothing_of_the_value(self, store: SecretStore) -> None:
        await SecretVault(store, key=KEY).close(TENANT, FUNCTION, VALUE, PASSWORD)

        closed = await store.find(TENANT, VALUE)

        assert closed is not None
        assert PASSWORD.reveal().encode() not in closed.sealed + closed.wrapped_key
        assert closed.key_id == key_id_of(KEY)


class TestRewrap:
    async def test_lets_go_of_the_former_key(self, store: SecretStore) -> None:
        former = SecretVault(store, key=KEY)
        values = [uuid4() for _ in range(3)]
        for value in values:
            await former.close(TENANT, FUNCTION, value, PASSWORD)

        both = SecretVault(store, key=NEW_KEY, former=[KEY])
        assert await both.open(TENANT, FUNCTION, values[0]) == PASSWORD
        assert await both.rewrap() == 3
        assert await both.rewrap() == 0

        alone = SecretVault(store, key=NEW_KEY)
        assert [await alone.open(TENANT, FUNCTION, value) for value in values] == [PASSWORD] * 3
        with pytest.raises(SecretLost, match="DCF_FORMER_MASTER_KEYS"):
            await former.open(TENANT, FUNCTION, values[0])

    async def test_says_which_key_is_missing(self, store: SecretStore) -> None:
        await SecretVault(store, key=KEY).close(TENANT, FUNCTION, VALUE, PASSWORD)

        with pytest.raises(SecretLost, match=key_id_of(KEY)):
            await SecretVault(store, key=NEW_KEY).rewrap()

    async def test_passes_over_what_no_key_opens_and_says_so(self, store: SecretStore) -> None:
        first, last = UUID(int=1), UUID(int=2**127)
        await SecretVault(store, key=b"x" * 32).close(TENANT, FUNCTION, first, PASSWORD)
        await SecretVault(store, key=KEY).close(TENANT, FUNCTION, last, PASSWORD)

        with pytest.raises(SecretLost, match=r"^1 values are not wrapped anew"):
            await SecretVault(store, key=NEW_KEY, former=[KEY]).rewrap()

        assert await SecretVault(store, key=NEW_KEY).open(TENANT, FUNCTION, last) == PASSWORD


class TestFingerprint:
    async def test_tells_contents_apart_and_needs_the_key(self) -> None:
        one, other = SecretVault(MemorySecretStore(), key=KEY), SecretVault(MemorySecretStore(), key=NEW_KEY)

        of_a = await one.fingerprint(TENANT, b"a")
        assert of_a == await one.fingerprint(TENANT, b"a") != await one.fingerprint(TENANT, b"b")
        assert of_a != await other.fingerprint(TENANT, b"a")


async def test_the_apis_role_puts_in_and_takes_nothing_out(database_url: str) -> None:
    async with connect(database_url, role="dcf_app", size_max=1) as app:
        store = PostgresSecretStore(app)
        await SecretVault(store, key=KEY).close(TENANT, FUNCTION, VALUE, PASSWORD)

        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await store.find(TENANT, VALUE)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.fetch("SELECT * FROM vault.secret_values")


class TestForget:
    async def test_takes_all_values_of_one_function_and_no_others(self, store: SecretStore) -> None:
        vault = SecretVault(store, key=KEY)
        other, values = uuid4(), [uuid4() for _ in range(3)]
        for value_id in values:
            await vault.close(TENANT, FUNCTION, value_id, PASSWORD)
        await vault.close(TENANT, other, VALUE, PASSWORD)
        nobody = (UUID(int=0), UUID(int=0))

        kept = await vault.functions(after=nobody, limit=10)
        assert kept == sorted([(TENANT, FUNCTION), (TENANT, other)])
        assert await vault.functions(after=kept[0], limit=10) == kept[1:]
        assert await vault.forget(TENANT, FUNCTION) == 3

        assert await vault.functions(after=nobody, limit=10) == [(TENANT, other)]
        assert await vault.forget(TENANT, FUNCTION) == 0
        assert await vault.open(TENANT, other, VALUE) == PASSWORD
        for value_id in values:
            with pytest.raises(SecretLost):
                await vault.open(TENANT, FUNCTION, value_id)


class TestRotation:
    async def test_of_the_master_key_stops_nobody_on_the_way(self, store: SecretStore) -> None:
        """
        Goal: values are set and opened at every moment while the key is changed on a live service.
        Method: the processes are restarted one after another as docs/operations.md says; after each restart everybody who is
        there closes a value, and whoever opens values opens all there are.
        """
        all_ids: list[UUID] = []
        old, ready = SecretVault(store, key=KEY), SecretVault(store, key=KEY, former=(NEW_KEY,))
        new = SecretVault(store, key=NEW_KEY, former=(KEY,))

        for api_one, api_two, runner in (
            (old, old, old),
            (ready, old, old),
            (ready, ready, old),
            (ready, ready, ready),
            (new, ready, ready),
            (new, new, ready),
            (new, new, new),
        ):
            for api in (api_one, api_two):
                all_ids.append(uuid4())
                await api.close(TENANT, FUNCTION, all_ids[-1], PASSWORD)
            if runner is new:
                assert await runner.rewrap() > 0
            found = [await runner.open(TENANT, FUNCTION, value_id) for value_id in all_ids]
            assert found == [PASSWORD] * len(all_ids)

        # What an API that was late still closes with the former key is wrapped by the next round.
        await ready.close(TENANT, FUNCTION, VALUE, PASSWORD)
        assert await new.rewrap() == 1
        assert await SecretVault(store, key=NEW_KEY).open(TENANT, FUNCTION, VALUE) == PASSWORD
