"""Personal values sealed under their person's key: destroying the key erases them from the whole log, which stays as it is."""

from __future__ import annotations

import base64
import binascii
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.sealed import Sealed
from eventstore.database import Database
from eventstore.wrapping import KEY_BYTES, KeyWrapping, NotUnwrapped, Wrapped, counted, tally
from process.key_ring import KeyRing
from process.key_service import TenantKeyUnusable

_NONCE_BYTES = 12
REWRAPPED_AT_ONCE = 500
_FIRST = UUID(int=0)


class Erased(msgspec.Struct, frozen=True):
    """What opening gives once the person's key is destroyed."""

    person_id: UUID


class SealedField(msgspec.Struct, frozen=True):
    """A sealed value, of whom it is and what."""

    person_id: UUID
    field: str
    sealed: Sealed


class PersonErased(Exception):
    """The person was erased; nothing can be sealed for them any more."""


class NotSealed(Exception):
    """The value was not sealed for this person and field, or was changed, or the key-encryption key is another."""


class PersonKeys(Protocol):
    """Keeps one key a person; what it keeps is wrapped when there is a key-encryption key."""

    async def find(self, tenant_id: UUID, person_id: UUID) -> bytes | Erased | None:
        """The key as it was put in; Erased after `destroy`; None when there never was one."""
        ...

    async def find_all(self, tenant_id: UUID, person_ids: Collection[UUID]) -> Mapping[UUID, bytes]:
        """Those keys of several persons that there are, in one go."""
        ...

    async def add(self, tenant_id: UUID, person_id: UUID, key: bytes, *, wrapped_by: str) -> bytes | Erased:
        """Keep this key, unless there is one already or was one; return what there is now. `wrapped_by` is the id of the key
        that wraps it, empty for none."""
        ...

    async def not_wrapped_by(
        self, key_id: str, *, after: tuple[UUID, UUID], limit: int
    ) -> list[tuple[UUID, UUID, bytes]]:
        """Tenant, person and key of those that another key wraps, in order, from behind a tenant and person on."""
        ...

    async def rewrap(self, tenant_id: UUID, person_id: UUID, key: bytes, *, former: bytes, wrapped_by: str) -> None:
        """Put another wrapping in the place of the former one, if that is still there."""
        ...

    async def counts(self) -> Mapping[str, int]:
        """How many keys each key wraps, by its id."""
        ...

    async def destroy(self, tenant_id: UUID, person_id: UUID) -> None:
        """Forget the key for ever. Doing it twice, or for somebody unknown, is fine: no key can be added after."""
        ...


class Sealing:
    """Seals and opens personal values. AES-256-GCM; person and field are bound to the value, so neither can be swapped.

    What wraps persons' keys where they are kept is as KeyWrapping says; asked for one, it may raise KeyServiceUnusable.
    """

    def __init__(
        self,
        keys: PersonKeys,
        *,
        key_encryption_key: bytes | None = None,
        former: Iterable[bytes] = (),
        ring: KeyRing | None = None,
    ) -> None:
        """`key_encryption_key` has 32 bytes and wraps the persons' keys, unless the ring does; `former` are those that did."""
        self._keys = keys
        self._wrapping = KeyWrapping("person-keys", key=key_encryption_key, former=former, ring=ring)

    async def seal(self, tenant_id: UUID, person_id: UUID, field: str, value: str) -> Sealed:
        """The value as an event may carry it. Makes the person's key when there is none. Raises PersonErased."""
        kept = await self._keys.find(tenant_id, person_id)
        if kept is None:
            fresh = await self._wrapping.wrap(tenant_id, person_id, os.urandom(KEY_BYTES))
            kept = await self._keys.add(tenant_id, person_id, fresh, wrapped_by=self._wrapping.key_id)
        if isinstance(kept, Erased):
            raise PersonErased
        cipher = AESGCM(await self._unwrapped(tenant_id, person_id, kept))
        return Sealed(base64.b64encode(_encrypt(cipher, value.encode(), _bound_to(person_id, field))).decode())

    async def open(self, tenant_id: UUID, person_id: UUID, field: str, sealed: Sealed) -> str | Erased:
        """The value, or Erased when its key is destroyed or never was. Raises NotSealed."""
        kept = await self._keys.find(tenant_id, person_id)
        if kept is None or isinstance(kept, Erased):
            return Erased(person_id)
        return await self._opened(tenant_id, SealedField(person_id, field, sealed), kept)

    async def open_all(self, tenant_id: UUID, values: Sequence[SealedField]) -> list[str | Erased]:
        """The values in their order, as `open` gives each; the keys are asked for together. Raises NotSealed."""
        keys = await self._keys.find_all(tenant_id, {value.person_id for value in values})
        return [
            await self._opened(tenant_id, value, keys[value.person_id])
            if value.person_id in keys
            else Erased(value.person_id)
            for value in values
        ]

    async def _opened(self, tenant_id: UUID, value: SealedField, kept: bytes) -> str:
        try:
            content = base64.b64decode(value.sealed, validate=True)
        except binascii.Error as error:
            raise NotSealed from error
        cipher = AESGCM(await self._unwrapped(tenant_id, value.person_id, kept))
        return _decrypt(cipher, content, _bound_to(value.person_id, value.field)).decode()

    async def erase(self, tenant_id: UUID, person_id: UUID) -> None:
        """Destroy the person's key."""
        await self._keys.destroy(tenant_id, person_id)

    async def rewrap(self) -> int:
        """Wrap anew the keys that other keys wrap; how many there were. It may be interrupted, and done again, at any time.

        Those that no key opens, or whose tenant's key cannot be had, are passed over. Raises NotSealed for them, at the end;
        KeyServiceUnusable at once.
        """
        count, lost, after, key_id = 0, 0, (_FIRST, _FIRST), self._wrapping.key_id
        while found := await self._keys.not_wrapped_by(key_id, after=after, limit=REWRAPPED_AT_ONCE):
            for tenant_id, person_id, former in found:
                try:
                    plain = await self._unwrapped(tenant_id, person_id, former)
                    again = await self._wrapping.wrap(tenant_id, person_id, plain)
                except (NotSealed, TenantKeyUnusable):
                    lost += 1
                    continue
                await self._keys.rewrap(tenant_id, person_id, again, former=former, wrapped_by=key_id)
                count += 1
            after = found[-1][:2]
        if lost:
            raise NotSealed(
                f"{lost} persons' keys are wrapped by a master key that is not given, or their tenant's key is; see "
                "DCF_FORMER_MASTER_KEYS and DCF_FORMER_MASTER_KEY_SERVICES."
            )
        return count

    async def wrapped(self) -> Wrapped:
        """How many keys the current key wraps, and how many others do."""
        return tally(await self._keys.counts(), self._wrapping.key_id)

    async def _unwrapped(self, tenant_id: UUID, person_id: UUID, kept: bytes) -> bytes:
        try:
            return await self._wrapping.unwrap(tenant_id, person_id, kept)
        except NotUnwrapped as problem:
            raise NotSealed(str(problem)) from problem


def _bound_to(person_id: UUID, field: str) -> bytes:
    return person_id.bytes + field.encode()


def _encrypt(cipher: AESGCM, content: bytes, bound_to: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, content, bound_to)


def _decrypt(cipher: AESGCM, content: bytes, bound_to: bytes) -> bytes:
    try:
        return cipher.decrypt(content[:_NONCE_BYTES], content[_NONCE_BYTES:], bound_to)
    except (InvalidTag, ValueError) as error:
        raise NotSealed from error


class MemoryPersonKeys:
    """The keys of a log in memory."""

    def __init__(self) -> None:
        self._keys: dict[tuple[UUID, UUID], bytes | Erased] = {}
        self._wrapped_by: dict[tuple[UUID, UUID], str] = {}

    async def find(self, tenant_id: UUID, person_id: UUID) -> bytes | Erased | None:
        return self._keys.get((tenant_id, person_id))

    async def find_all(self, tenant_id: UUID, person_ids: Collection[UUID]) -> Mapping[UUID, bytes]:
        found = {id: self._keys.get((tenant_id, id)) for id in person_ids}
        return {id: key for id, key in found.items() if isinstance(key, bytes)}

    async def add(self, tenant_id: UUID, person_id: UUID, key: bytes, *, wrapped_by: str) -> bytes | Erased:
        if (tenant_id, person_id) not in self._keys:
            self._keys[tenant_id, person_id], self._wrapped_by[tenant_id, person_id] = key, wrapped_by
        return self._keys[tenant_id, person_id]

    async def not_wrapped_by(
        self, key_id: str, *, after: tuple[UUID, UUID], limit: int
    ) -> list[tuple[UUID, UUID, bytes]]:
        found = [
            (*ids, key)
            for ids, key in self._keys.items()
            if ids > after and isinstance(key, bytes) and self._wrapped_by[ids] != key_id
        ]
        return sorted(found)[:limit]

    async def rewrap(self, tenant_id: UUID, person_id: UUID, key: bytes, *, former: bytes, wrapped_by: str) -> None:
        if self._keys.get((tenant_id, person_id)) == former:
            self._keys[tenant_id, person_id], self._wrapped_by[tenant_id, person_id] = key, wrapped_by

    async def counts(self) -> Mapping[str, int]:
        return Counter(self._wrapped_by[ids] for ids, key in self._keys.items() if isinstance(key, bytes))

    async def destroy(self, tenant_id: UUID, person_id: UUID) -> None:
        self._keys[tenant_id, person_id] = Erased(person_id)


_FIND = "SELECT key FROM vault.find_person_key($1, $2)"

_FIND_ALL = """
    SELECT p.id, k.key
      FROM unnest($2::uuid[]) AS p (id)
     CROSS JOIN LATERAL vault.find_person_key($1, p.id) AS k (key)
     WHERE k.key IS NOT NULL
"""

_ADD = "SELECT vault.add_person_key($1, $2, $3, $4)"

_NOT_WRAPPED_BY = "SELECT tenant_id, person_id, key FROM vault.person_keys_not_wrapped_by($1, $2, $3, $4)"

_REWRAP = "SELECT vault.rewrap_person_key($1, $2, $3, $4, $5)"

_DESTROY = "SELECT vault.destroy_person_key($1, $2)"


class PostgresPersonKeys:
    """The keys in the database's vault, where even their holders read them only one by one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, tenant_id: UUID, person_id: UUID) -> bytes | Erased | None:
        row = await self._database.fetchrow(_FIND, tenant_id, person_id)
        if row is None:
            return None
        key: bytes | None = row["key"]
        return Erased(person_id) if key is None else key

    async def find_all(self, tenant_id: UUID, person_ids: Collection[UUID]) -> Mapping[UUID, bytes]:
        rows = await self._database.fetch(_FIND_ALL, tenant_id, list(person_ids))
        return {UUID(int=row["id"].int): row["key"] for row in rows}

    async def add(self, tenant_id: UUID, person_id: UUID, key: bytes, *, wrapped_by: str) -> bytes | Erased:
        kept: bytes | None = await self._database.fetchval(_ADD, tenant_id, person_id, key, wrapped_by)
        return Erased(person_id) if kept is None else kept

    async def not_wrapped_by(
        self, key_id: str, *, after: tuple[UUID, UUID], limit: int
    ) -> list[tuple[UUID, UUID, bytes]]:
        rows = await self._database.fetch(_NOT_WRAPPED_BY, key_id, *after, limit)
        return [(UUID(int=row["tenant_id"].int), UUID(int=row["person_id"].int), row["key"]) for row in rows]

    async def rewrap(self, tenant_id: UUID, person_id: UUID, key: bytes, *, former: bytes, wrapped_by: str) -> None:
        await self._database.execute(_REWRAP, tenant_id, person_id, former, key, wrapped_by)

    async def counts(self) -> Mapping[str, int]:
        return await counted(self._database, "person-keys")

    async def destroy(self, tenant_id: UUID, person_id: UUID) -> None:
        await self._database.execute(_DESTROY, tenant_id, person_id)
