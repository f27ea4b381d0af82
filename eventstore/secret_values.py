"""The values of functions' secrets: closed by whoever serves the API, opened by the runner, kept beside the log.

Envelope encryption: each value has a key of its own (AES-256-GCM), which is wrapped by the master key's, or by its tenant's
key where a service holds the master key; so a new master key means new wrappings and no new ciphertexts. Tenant, function and value are bound to the ciphertext: none can stand in
for another.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from eventstore.database import Database
from eventstore.wrapping import BY_TENANT_KEY, KeyWrapping, NotUnwrapped, Wrapped, counted, tally
from process.key_ring import KeyRing
from process.key_service import TenantKeyUnusable
from process.secret import Secret

KEY_BYTES = 32
_NONCE_BYTES = 12
REWRAPPED_AT_ONCE = 500


class SecretLost(Exception):
    """A secret's value is not kept, or was changed, or the master key that closed it is not given. The message says which."""


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """A value as it is kept."""

    function_id: UUID
    key_id: str
    wrapped_key: bytes
    sealed: bytes


# A tenant and a function of it.
FunctionKey = tuple[UUID, UUID]


class SecretStore(Protocol):
    """Keeps closed values."""

    async def add(self, tenant_id: UUID, value_id: UUID, closed: Closed) -> None:
        """Keep it. One kept under this id before stays as it is."""
        ...

    async def find(self, tenant_id: UUID, value_id: UUID) -> Closed | None: ...

    async def not_closed_by(self, key_id: str, *, limit: int) -> list[tuple[UUID, UUID, str, bytes]]:
        """Tenant, value, key id and wrapped key of those that another key wraps."""
        ...

    async def rewrap(self, tenant_id: UUID, value_id: UUID, *, former: str, key_id: str, wrapped_key: bytes) -> None:
        """Put another wrapping in the place of the former one, if that is still there."""
        ...

    async def counts(self) -> Mapping[str, int]:
        """How many values each key wraps, by its id."""
        ...

    async def functions(self, *, after: FunctionKey, limit: int) -> list[FunctionKey]:
        """The functions that values are kept of, in order, from behind one on."""
        ...

    async def forget(self, tenant_id: UUID, function_id: UUID) -> int:
        """Keep no value of the function any longer; how many there were."""
        ...


class SecretVault:
    """Closes and opens values. What wraps their keys is as KeyWrapping says; asked for a value, it may raise KeyServiceUnusable."""

    def __init__(
        self,
        store: SecretStore,
        *,
        key: bytes | None = None,
        former: Iterable[bytes] = (),
        ring: KeyRing | None = None,
    ) -> None:
        self._store = store
        self._wrapping = KeyWrapping("function-secrets", key=key, former=former, ring=ring)

    async def close(self, tenant_id: UUID, function_id: UUID, value_id: UUID, value: Secret) -> None:
        """Keep a value, durably, before returning. Doing it again under the same id changes nothing."""
        own = os.urandom(KEY_BYTES)
        closed = Closed(
            function_id=function_id,
            key_id=self._wrapping.key_id,
            wrapped_key=await self._wrapping.wrap(tenant_id, value_id, own),
            sealed=_encrypt(own, value.reveal().encode(), _bound_to(tenant_id, function_id, value_id)),
        )
        await self._store.add(tenant_id, value_id, closed)

    async def open(self, tenant_id: UUID, function_id: UUID, value_id: UUID) -> Secret:
        """The value. Raises SecretLost."""
        closed = await self._store.find(tenant_id, value_id)
        if closed is None or closed.function_id != function_id:
            raise SecretLost("The value is not kept here.")
        own = await self._unwrapped(tenant_id, value_id, closed.key_id, closed.wrapped_key)
        return Secret(_decrypt(own, closed.sealed, _bound_to(tenant_id, function_id, value_id)).decode())

    async def rewrap(self) -> int:
        """Wrap anew what other keys wrap; how many there were. It may be interrupted, and done again, at any time.

        Those that no key opens, or whose tenant's key cannot be had, are passed over. Raises SecretLost for them, at the end;
        KeyServiceUnusable at once.
        """
        count, key_id = 0, self._wrapping.key_id
        lost: dict[tuple[UUID, UUID], SecretLost | TenantKeyUnusable] = {}
        while found := await self._others(key_id, lost.keys()):
            for tenant_id, value_id, former, wrapped in found:
                try:
                    own = await self._unwrapped(tenant_id, value_id, former, wrapped)
                    again = await self._wrapping.wrap(tenant_id, value_id, own)
                except (SecretLost, TenantKeyUnusable) as problem:
                    lost[tenant_id, value_id] = problem
                    continue
                await self._store.rewrap(tenant_id, value_id, former=former, key_id=key_id, wrapped_key=again)
                count += 1
        if lost:
            raise SecretLost(f"{len(lost)} values are not wrapped anew. {next(iter(lost.values()))}")
        return count

    async def _others(self, key_id: str, lost: Collection[tuple[UUID, UUID]]) -> list[tuple[UUID, UUID, str, bytes]]:
        """Some of those that another key wraps, but for the lost."""
        found = await self._store.not_closed_by(key_id, limit=REWRAPPED_AT_ONCE + len(lost))
        return [one for one in found if one[:2] not in lost]

    async def wrapped(self) -> Wrapped:
        """How many values the current key wraps, and how many others do."""
        return tally(await self._store.counts(), self._wrapping.key_id)

    async def functions(self, *, after: FunctionKey, limit: int) -> list[FunctionKey]:
        """The functions that values are kept of, with their tenants, in order."""
        return await self._store.functions(after=after, limit=limit)

    async def forget(self, tenant_id: UUID, function_id: UUID) -> int:
        """Keep no value of the function any longer; how many there were."""
        return await self._store.forget(tenant_id, function_id)

    async def fingerprint(self, tenant_id: UUID, content: bytes) -> bytes:
        """32 bytes that tell contents apart and by which nobody without the key can guess one."""
        return await self._wrapping.fingerprint(tenant_id, content)

    async def _unwrapped(self, tenant_id: UUID, value_id: UUID, key_id: str, wrapped: bytes) -> bytes:
        if not self._wrapping.knows(key_id):
            by = "key service" if key_id == BY_TENANT_KEY else f"master key {key_id}"
            where = "DCF_FORMER_MASTER_KEY_SERVICES" if key_id == BY_TENANT_KEY else "DCF_FORMER_MASTER_KEYS"
            raise SecretLost(f"The {by} that closed the value is not given; see {where}.")
        try:
            return await self._wrapping.unwrap(tenant_id, value_id, wrapped)
        except NotUnwrapped as problem:
            raise SecretLost(f"The value cannot be opened. {problem}") from problem


def _bound_to(tenant_id: UUID, function_id: UUID, value_id: UUID) -> bytes:
    return tenant_id.bytes + function_id.bytes + value_id.bytes


def _encrypt(key: bytes, content: bytes, bound_to: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, content, bound_to)


def _decrypt(key: bytes, content: bytes, bound_to: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(content[:_NONCE_BYTES], content[_NONCE_BYTES:], bound_to)
    except (InvalidTag, ValueError) as error:
        raise SecretLost("The value was changed since it was closed.") from error


class MemorySecretStore:
    """The values of a service in memory."""

    def __init__(self) -> None:
        self._kept: dict[tuple[UUID, UUID], Closed] = {}

    async def add(self, tenant_id: UUID, value_id: UUID, closed: Closed) -> None:
        self._kept.setdefault((tenant_id, value_id), closed)

    async def find(self, tenant_id: UUID, value_id: UUID) -> Closed | None:
        return self._kept.get((tenant_id, value_id))

    async def functions(self, *, after: FunctionKey, limit: int) -> list[FunctionKey]:
        found = {(tenant_id, one.function_id) for (tenant_id, _), one in self._kept.items()}
        return sorted(key for key in found if key > after)[:limit]

    async def forget(self, tenant_id: UUID, function_id: UUID) -> int:
        gone = [ids for ids, one in self._kept.items() if ids[0] == tenant_id and one.function_id == function_id]
        for ids in gone:
            del self._kept[ids]
        return len(gone)

    async def not_closed_by(self, key_id: str, *, limit: int) -> list[tuple[UUID, UUID, str, bytes]]:
        found = [(*ids, one.key_id, one.wrapped_key) for ids, one in self._kept.items() if one.key_id != key_id]
        return sorted(found)[:limit]

    async def counts(self) -> Mapping[str, int]:
        return Counter(one.key_id for one in self._kept.values())

    async def rewrap(self, tenant_id: UUID, value_id: UUID, *, former: str, key_id: str, wrapped_key: bytes) -> None:
        kept = self._kept.get((tenant_id, value_id))
        if kept is not None and kept.key_id == former:
            again = msgspec.structs.replace(kept, key_id=key_id, wrapped_key=wrapped_key)
            self._kept[tenant_id, value_id] = again


class PostgresSecretStore:
    """The values in the database's vault, where the API can put and never take."""

    def __init__(self, database: Database) -> None:
        self._database = database

    _ADD = "SELECT vault.add_secret_value($1, $2, $3, $4, $5, $6)"

    async def add(self, tenant_id: UUID, value_id: UUID, closed: Closed) -> None:
        await self._database.execute(
            self._ADD, tenant_id, value_id, closed.function_id, closed.key_id, closed.wrapped_key, closed.sealed
        )

    _FIND = "SELECT function_id, key_id, wrapped_key, sealed FROM vault.find_secret_value($1, $2)"

    async def find(self, tenant_id: UUID, value_id: UUID) -> Closed | None:
        row = await self._database.fetchrow(self._FIND, tenant_id, value_id)
        return None if row is None else Closed(**dict(row.items()))

    _NOT_CLOSED_BY = """
        SELECT tenant_id, value_id, key_id, wrapped_key
          FROM vault.secret_values_not_closed_by($1, $2)
    """

    async def not_closed_by(self, key_id: str, *, limit: int) -> list[tuple[UUID, UUID, str, bytes]]:
        rows = await self._database.fetch(self._NOT_CLOSED_BY, key_id, limit)
        return [(row["tenant_id"], row["value_id"], row["key_id"], row["wrapped_key"]) for row in rows]

    _FUNCTIONS = "SELECT tenant_id, function_id FROM vault.functions_with_secrets($1, $2, $3)"

    async def functions(self, *, after: FunctionKey, limit: int) -> list[FunctionKey]:
        rows = await self._database.fetch(self._FUNCTIONS, *after, limit)
        return [(UUID(int=row["tenant_id"].int), UUID(int=row["function_id"].int)) for row in rows]

    _FORGET = "SELECT vault.forget_secret_values($1, $2)"

    async def forget(self, tenant_id: UUID, function_id: UUID) -> int:
        count: int = await self._database.fetchval(self._FORGET, tenant_id, function_id)
        return count

    async def counts(self) -> Mapping[str, int]:
        return await counted(self._database, "function-secrets")

    _REWRAP = "SELECT vault.rewrap_secret_value($1, $2, $3, $4, $5)"

    async def rewrap(self, tenant_id: UUID, value_id: UUID, *, former: str, key_id: str, wrapped_key: bytes) -> None:
        await self._database.execute(self._REWRAP, tenant_id, value_id, former, key_id, wrapped_key)


async def opened(
    vault: SecretVault, tenant_id: UUID, function_id: UUID, values: Mapping[str, UUID]
) -> dict[str, Secret]:
    """The values under their names. Raises SecretLost, which names the secret; KeyServiceUnusable."""
    found = {}
    for name, value_id in values.items():
        try:
            found[name] = await vault.open(tenant_id, function_id, value_id)
        except SecretLost as problem:
            raise SecretLost(f"{name}: {problem}") from problem
    return found
