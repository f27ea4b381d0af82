"""Personal values: sealed, opened, erased."""

from __future__ import annotations

import asyncio
import base64
from uuid import uuid4

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
