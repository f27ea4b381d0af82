"""Personal values: sealed, opened, erased."""

from __future__ import annotations

import asyncio
import base64
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.sealed import Sealed
from eventstore.database import Pool, connect
from eventstore.sealing import (
    Erased,
    MemoryPersonKeys,
    NotSealed,
    PersonErased,
    PersonKeys,
    PostgresPersonKeys,
    Sealing,
)
from eventstore.wrapping import Wrapped
from tests.eventstore.make import TENANT

PERSON = uuid4()


@pytest.fixture(params=["memory", "postgres"])
def keys(request: pytest.FixtureRequest) -> PersonKeys:
    if request.param == "memory":
        return MemoryPersonKeys()
    return PostgresPersonKeys(request.getfixturevalue("database"))


@pytest.fixture(params=[None, b"k" * 32], ids=["plain", "wrapped"])
def sealing(request: pytest.FixtureRequest, keys: PersonKeys) -> Sealing:
    return Sealing(keys, key_encryption_key=request.param)


class TestOpen:
    async def test_gives_back_what_was_sealed(self, sealing: Sealing) -> None:
        sealed = await sealing.seal(TENANT, PERSON, "name", "Zoë")

        assert "Zoë".encode() not in base64.b64decode(sealed)
        assert await sealing.open(TENANT, PERSON, "name", sealed) == "Zoë"

    async def test_the_same_value_is_never_sealed_alike(self, sealing: Sealing) -> None:
        assert await sealing.seal(TENANT, PERSON, "name", "Zoë") != await sealing.seal(TENANT, PERSON, "name", "Zoë")

    async def test_refuses_another_field(self, sealing: Sealing) -> None:
        sealed = await sealing.seal(TENANT, PERSON, "name", "Zoë")

        with pytest.raises(NotSealed):
            await sealing.open(TENANT, PERSON, "email", sealed)

    async def test_refuses_another_person(self, sealing: Sealing) -> None:
        other = uuid4()
        await sealing.seal(TENANT, other, "name", "Max")
        sealed = await sealing.seal(TENANT, PERSON, "name", "Zoë")

        with pytest.raises(NotSealed):
            await sealing.open(TENANT, other, "name", sealed)

    @pytest.mark.parametrize("value", ["", "AAAA", "not base64", "A" * 80])
    async def test_refuses_what_was_never_sealed(self, sealing: Sealing, value: str) -> None:
        await sealing.seal(TENANT, PERSON, "name", "Zoë")

        with pytest.raises(NotSealed):
            await sealing.open(TENANT, PERSON, "name", Sealed(value))

    async def test_needs_the_same_key_encryption_key(self, keys: PersonKeys) -> None:
        sealed = await Sealing(keys, key_encryption_key=b"a" * 32).seal(TENANT, PERSON, "name", "Zoë")

        with pytest.raises(NotSealed):
            await Sealing(keys, key_encryption_key=b"b" * 32).open(TENANT, PERSON, "name", sealed)
        with pytest.raises(NotSealed):
            await Sealing(keys).open(TENANT, PERSON, "name", sealed)


class TestErase:
    async def test_what_was_sealed_is_unreadable_for_ever(self, sealing: Sealing) -> None:
        sealed = await sealing.seal(TENANT, PERSON, "name", "Zoë")

        await sealing.erase(TENANT, PERSON)
        await sealing.erase(TENANT, PERSON)

        assert await sealing.open(TENANT, PERSON, "name", sealed) == Erased(PERSON)
        with pytest.raises(PersonErased):
            await sealing.seal(TENANT, PERSON, "name", "Zoë")

    async def test_leaves_others_alone(self, sealing: Sealing) -> None:
        other = uuid4()
        sealed = await sealing.seal(TENANT, other, "name", "Max")

        await sealing.erase(TENANT, PERSON)

        assert await sealing.open(TENANT, other, "name", sealed) == "Max"


async def test_two_who_seal_at_once_use_one_key(sealing: Sealing) -> None:
    sealed = await asyncio.gather(*(sealing.seal(TENANT, PERSON, "name", str(n)) for n in range(8)))

    assert [await sealing.open(TENANT, PERSON, "name", one) for one in sealed] == [str(n) for n in range(8)]


async def test_the_app_works_with_keys_and_cannot_list_them(database_url: str) -> None:
    async with connect(database_url, role="dcf_app") as app:
        sealed = await Sealing(PostgresPersonKeys(app)).seal(TENANT, PERSON, "name", "Zoë")
        assert await Sealing(PostgresPersonKeys(app)).open(TENANT, PERSON, "name", sealed) == "Zoë"
        await no_listing(app)


async def no_listing(app: Pool) -> None:
    with pytest.raises(Exception, match="permission denied"):
        await app.fetch("SELECT key FROM vault.person_keys")


OLD, NEW = b"o" * 32, b"n" * 32


class TestRewrap:
    async def test_lets_the_former_key_go(self, keys: PersonKeys) -> None:
        """
        Goal: names are sealed and read at every moment while the key is changed, and afterwards without the former one.
        Method: the processes are restarted one after another as docs/operations.md says; after each restart everybody there
        seals a value, and opens all there are.
        """
        old, ready = Sealing(keys, key_encryption_key=OLD), Sealing(keys, key_encryption_key=OLD, former=[NEW])
        new = Sealing(keys, key_encryption_key=NEW, former=[OLD])
        sealed: dict[UUID, Sealed] = {}
        count = 0
        for one, other in ((old, old), (ready, old), (ready, ready), (new, ready), (new, new)):
            for api in (one, other):
                person = uuid4()
                sealed[person] = await api.seal(TENANT, person, "name", str(person))
            if one is new:
                count += await new.rewrap()
            for api in (one, other):
                assert [await api.open(TENANT, id, "name", value) for id, value in sealed.items()] == [
                    *map(str, sealed)
                ]

        assert count == 7, "those that the former key wrapped"
        assert await new.wrapped() == Wrapped(by_current_key=len(sealed), by_other_keys=0)
        assert await new.rewrap() == 0
        alone = Sealing(keys, key_encryption_key=NEW)
        assert [await alone.open(TENANT, id, "name", value) for id, value in sealed.items()] == [*map(str, sealed)]

    async def test_goes_on_where_it_was_interrupted(self, keys: PersonKeys) -> None:
        old, new = Sealing(keys, key_encryption_key=OLD), _ending(keys, 3)
        people = [uuid4() for _ in range(7)]
        sealed = [await old.seal(TENANT, person, "name", "Zoë") for person in people]

        with pytest.raises(ConnectionError):
            await new.rewrap()
        assert await new.wrapped() == Wrapped(by_current_key=3, by_other_keys=4)

        again = Sealing(keys, key_encryption_key=NEW, former=[OLD])
        assert await again.rewrap() == 4
        alone = Sealing(keys, key_encryption_key=NEW)
        assert {await alone.open(TENANT, *both) for both in zip(people, ["name"] * 7, sealed, strict=True)} == {"Zoë"}

    async def test_brings_nobody_back_who_was_erased_meanwhile(self, keys: PersonKeys) -> None:
        old, new = Sealing(keys, key_encryption_key=OLD), Sealing(keys, key_encryption_key=NEW, former=[OLD])
        sealed = await old.seal(TENANT, PERSON, "name", "Zoë")
        ((tenant_id, person_id, kept),) = await keys.not_wrapped_by("new", after=(UUID(int=0), UUID(int=0)), limit=9)

        await new.erase(TENANT, PERSON)
        await keys.rewrap(tenant_id, person_id, b"wrapped anew", former=kept, wrapped_by="new")

        assert await new.open(TENANT, PERSON, "name", sealed) == Erased(PERSON)
        assert await new.wrapped() == Wrapped(by_current_key=0, by_other_keys=0)

    async def test_passes_over_what_no_key_opens_and_says_so(self, keys: PersonKeys) -> None:
        await Sealing(keys, key_encryption_key=b"x" * 32).seal(TENANT, uuid4(), "name", "Max")
        sealed = await Sealing(keys, key_encryption_key=OLD).seal(TENANT, PERSON, "name", "Zoë")
        new = Sealing(keys, key_encryption_key=NEW, former=[OLD])

        with pytest.raises(NotSealed, match="1 persons' keys"):
            await new.rewrap()

        assert await Sealing(keys, key_encryption_key=NEW).open(TENANT, PERSON, "name", sealed) == "Zoë"

    async def test_is_the_engines_to_do(self, database_url: str) -> None:
        async with connect(database_url, role="dcf_app") as app:
            keys = PostgresPersonKeys(app)
            await Sealing(keys, key_encryption_key=OLD).seal(TENANT, PERSON, "name", "Zoë")
            with pytest.raises(Exception, match="permission denied"):
                await Sealing(keys, key_encryption_key=NEW, former=[OLD]).rewrap()
        async with connect(database_url, role="dcf_engine") as engine:
            assert await Sealing(PostgresPersonKeys(engine), key_encryption_key=NEW, former=[OLD]).rewrap() == 1


def _ending(keys: PersonKeys, wrappings: int) -> Sealing:
    broken: Any = _Ending(keys, wrappings)
    return Sealing(broken, key_encryption_key=NEW, former=[OLD])


class _Ending:
    """Keys whose keeper is lost after some wrappings."""

    def __init__(self, keys: PersonKeys, wrappings: int) -> None:
        self._keys = keys
        self._left = wrappings

    def __getattr__(self, name: str) -> Any:
        return getattr(self._keys, name)

    async def rewrap(self, tenant_id: UUID, person_id: UUID, key: bytes, *, former: bytes, wrapped_by: str) -> None:
        if self._left == 0:
            raise ConnectionError
        self._left -= 1
        await self._keys.rewrap(tenant_id, person_id, key, former=former, wrapped_by=wrapped_by)
