"""Keys of values and persons go over from a key of the operator's own to a key service and back, while both are used."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from eventstore.sealing import MemoryPersonKeys, NotSealed, PersonKeys, PostgresPersonKeys, Sealing
from eventstore.secret_values import MemorySecretStore, PostgresSecretStore, SecretLost, SecretStore, SecretVault
from eventstore.wrapped_keys import PostgresWrappedKeys
from eventstore.wrapping import BY_TENANT_KEY, KeyWrapping, NotUnwrapped, Wrapped
from process.key_ring import KeyRing, MemoryWrappedKeys, WrappedKeys
from process.key_service import KeyServiceUnusable
from process.secret import Secret
from runner.rewrapping import wrap_anew
from tests.eventstore.make import TENANT
from tests.support.key_service import MemoryKeyService

OWN, FORMER = b"k" * 32, b"f" * 32
FUNCTION = uuid4()

Stores = tuple[WrappedKeys, SecretStore, PersonKeys]


@pytest.fixture(params=["memory", "postgres"])
def stores(request: pytest.FixtureRequest) -> Stores:
    if request.param == "memory":
        return MemoryWrappedKeys(_now), MemorySecretStore(), MemoryPersonKeys()
    database = request.getfixturevalue("database")
    return PostgresWrappedKeys(database), PostgresSecretStore(database), PostgresPersonKeys(database)


class _Process:
    """One of the service's processes, as its settings have it close and open."""

    def __init__(self, stores: Stores, service: MemoryKeyService, *, by_service: bool) -> None:
        keys, secrets, persons = stores
        current, former = (service, ()) if by_service else (None, (service,))
        ring = KeyRing(keys, current=current, former=former, kept_max=0)
        self.secrets = SecretVault(secrets, key=OWN, ring=ring)
        self.sealing = Sealing(persons, key_encryption_key=OWN, ring=ring)


async def test_from_an_own_key_to_a_service_and_back_with_nobody_noticing(stores: Stores) -> None:
    """
    Goal: at every moment of a change each process opens what any closed, and afterwards one of the two is not needed.
    Method: two processes with either way of closing, both used before and after each of them has wrapped everything anew.
    """
    service = MemoryKeyService()
    own, other = (_Process(stores, service, by_service=by_service) for by_service in (False, True))
    values: list[tuple[UUID, Secret]] = []
    people: list[tuple[UUID, object]] = []

    async def works() -> None:
        for process in (own, other):
            value_id, value = uuid4(), Secret(uuid4().hex)
            await process.secrets.close(TENANT, FUNCTION, value_id, value)
            values.append((value_id, value))
            person_id = uuid4()
            people.append((person_id, await process.sealing.seal(TENANT, person_id, "name", "Zoë")))
        for process in (own, other):
            for value_id, value in values:
                assert await process.secrets.open(TENANT, FUNCTION, value_id) == value
            for person_id, sealed in people:
                assert await process.sealing.open(TENANT, person_id, "name", sealed) == "Zoë"  # type: ignore[arg-type]

    await works()
    for process in (other, own, other):
        assert await process.secrets.rewrap() > 0
        assert await process.sealing.rewrap() > 0
        assert (await process.secrets.wrapped()).by_other_keys == (await process.sealing.wrapped()).by_other_keys == 0
        await works()
    await other.secrets.rewrap()
    await other.sealing.rewrap()

    alone = KeyRing(stores[0], current=service)
    for value_id, value in values:
        assert await SecretVault(stores[1], ring=alone).open(TENANT, FUNCTION, value_id) == value
    for person_id, sealed in people:
        assert await Sealing(stores[2], ring=alone).open(TENANT, person_id, "name", sealed) == "Zoë"  # type: ignore[arg-type]
    assert await SecretVault(stores[1], ring=alone).wrapped() == Wrapped(by_current_key=len(values), by_other_keys=0)


async def test_a_tenant_whose_key_cannot_be_had_keeps_nobody_elses_from_being_wrapped_anew(stores: Stores) -> None:
    """
    Goal: what is wrong with one tenant's key stays with that tenant, and is told. Method: of two tenants with values and
    persons under the former key, the second has its tenant's keys from a service that is not given any more.
    """
    keys, other = stores[0], uuid4()
    secrets, sealing = SecretVault(stores[1], key=FORMER), Sealing(stores[2], key_encryption_key=FORMER)
    ids = {tenant: (uuid4(), uuid4()) for tenant in (TENANT, other)}
    sealed = {}
    for tenant, (value_id, person_id) in ids.items():
        await secrets.close(tenant, FUNCTION, value_id, Secret("value"))
        sealed[tenant] = await sealing.seal(tenant, person_id, "name", "Zoë")
    gone = KeyRing(keys, current=MemoryKeyService("memory:gone"))
    for purpose in ("function-secrets", "person-keys"):
        await gone.key(other, purpose)
    ring = KeyRing(keys, current=MemoryKeyService("memory:current"))
    secrets = SecretVault(stores[1], former=[FORMER], ring=ring)
    sealing = Sealing(stores[2], former=[FORMER], ring=ring)

    await wrap_anew(secrets, sealing, ring, now=_now())

    assert await secrets.wrapped() == await sealing.wrapped() == Wrapped(by_current_key=1, by_other_keys=1)
    with pytest.raises(SecretLost, match=r"1 values are not wrapped anew\..*memory:gone"):
        await secrets.rewrap()
    with pytest.raises(NotSealed, match="1 persons' keys"):
        await sealing.rewrap()
    with pytest.raises(KeyServiceUnusable, match="memory:gone") as refused:
        await secrets.close(other, FUNCTION, uuid4(), Secret("another"))
    assert "DCF_FORMER_MASTER_KEY_SERVICES" in refused.value.remedy
    for tenant, (value_id, person_id) in ids.items():
        assert await secrets.open(tenant, FUNCTION, value_id) == Secret("value")
        assert await sealing.open(tenant, person_id, "name", sealed[tenant]) == "Zoë"


async def test_the_service_is_asked_once_for_all_a_tenant_has(stores: Stores) -> None:
    service = MemoryKeyService()
    ring = KeyRing(stores[0], current=service)
    vault = SecretVault(stores[1], ring=ring)
    ids = [uuid4() for _ in range(20)]
    for value_id in ids:
        await vault.close(TENANT, FUNCTION, value_id, Secret("x"))
    for value_id in ids:
        await vault.open(TENANT, FUNCTION, value_id)

    assert service.calls == 1


async def test_an_outage_tells_that_nothing_is_lost(stores: Stores) -> None:
    service = MemoryKeyService()
    process = _Process(stores, service, by_service=True)
    value_id = uuid4()
    await process.secrets.close(TENANT, FUNCTION, value_id, Secret("x"))
    service.away = True

    for asked in (
        process.secrets.open(TENANT, FUNCTION, value_id),
        process.secrets.close(TENANT, FUNCTION, uuid4(), Secret("y")),
        process.sealing.seal(TENANT, uuid4(), "name", "Zoë"),
        process.secrets.fingerprint(TENANT, b"x"),
    ):
        with pytest.raises(KeyServiceUnusable):
            await asked
    service.away = False
    assert await process.secrets.open(TENANT, FUNCTION, value_id) == Secret("x")


async def test_without_the_service_it_is_said_what_is_missing(stores: Stores) -> None:
    process = _Process(stores, MemoryKeyService(), by_service=True)
    value_id, person_id = uuid4(), uuid4()
    await process.secrets.close(TENANT, FUNCTION, value_id, Secret("x"))
    sealed = await process.sealing.seal(TENANT, person_id, "name", "Zoë")

    with pytest.raises(SecretLost, match="DCF_FORMER_MASTER_KEY_SERVICES"):
        await SecretVault(stores[1], key=OWN).open(TENANT, FUNCTION, value_id)
    with pytest.raises(NotSealed, match="DCF_FORMER_MASTER_KEY_SERVICES"):
        await Sealing(stores[2], key_encryption_key=OWN).open(TENANT, person_id, "name", sealed)


class TestUnwrap:
    @pytest.fixture
    def wrapping(self) -> KeyWrapping:
        ring = KeyRing(MemoryWrappedKeys(_now), current=MemoryKeyService())
        return KeyWrapping("function-secrets", key=OWN, former=[FORMER], ring=ring)

    async def test_refuses_another_tenant_id_or_purpose(self, wrapping: KeyWrapping) -> None:
        own_id, key = uuid4(), b"v" * 32
        wrapped = await wrapping.wrap(TENANT, own_id, key)
        persons = KeyWrapping("person-keys", key=OWN, ring=wrapping._ring)

        assert wrapping.key_id == BY_TENANT_KEY
        assert await wrapping.unwrap(TENANT, own_id, wrapped) == key
        for asked in (
            wrapping.unwrap(uuid4(), own_id, wrapped),
            wrapping.unwrap(TENANT, uuid4(), wrapped),
            persons.unwrap(TENANT, own_id, wrapped),
        ):
            with pytest.raises(NotUnwrapped):
                await asked

    async def test_refuses_every_changed_byte_and_what_is_not_wrapped(self, wrapping: KeyWrapping) -> None:
        own_id = uuid4()
        wrapped = await wrapping.wrap(TENANT, own_id, b"v" * 32)

        for index in range(len(wrapped)):
            changed = wrapped[:index] + bytes([wrapped[index] ^ 1]) + wrapped[index + 1 :]
            with pytest.raises(NotUnwrapped):
                await wrapping.unwrap(TENANT, own_id, changed)
        for forged in (b"", b"v" * 32, wrapped[:-1], wrapped + b"x"):
            with pytest.raises(NotUnwrapped):
                await wrapping.unwrap(TENANT, own_id, forged)


def _now() -> datetime:
    return datetime.now(UTC)
