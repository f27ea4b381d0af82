"""What wraps the keys of single values and persons: the master key itself, or their tenant's key that a key service wraps.

Which of them wraps how many tells whether a former master key is still needed.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Literal
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from eventstore.database import Database
from process.key_ring import KeyRing, ServiceUnknown, TenantKey
from process.key_service import TenantKeyUnusable, WrappingForged

KEY_BYTES = 32
_KEY_ID_BYTES = 8
_NONCE_BYTES, _TAG_BYTES = 12, 16
# What a tenant's key wraps says so, and by which; what the master key itself wraps is shorter.
_MARK = b"dcf1"
_BY_TENANT_BYTES = len(_MARK) + 16 + _NONCE_BYTES + KEY_BYTES + _TAG_BYTES
# Stands where the id of a master key would: which service wraps the tenant's key is noted with that.
BY_TENANT_KEY = "tenant-key"

Kind = Literal["person-keys", "function-secrets"]
KINDS: tuple[Kind, ...] = ("person-keys", "function-secrets")


class Wrapped(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How many are wrapped by the current key, and how many by others: former ones, or one that nobody noted."""

    by_current_key: int
    by_other_keys: int


def key_id_of(key: bytes) -> str:
    """What names a key without telling it."""
    return hashlib.sha256(b"dcf/key-id\n" + key).digest()[:_KEY_ID_BYTES].hex()


def tally(counts: Mapping[str, int], key_id: str) -> Wrapped:
    """By the number under each key's id."""
    current = counts.get(key_id, 0)
    return Wrapped(by_current_key=current, by_other_keys=sum(counts.values()) - current)


class NotUnwrapped(Exception):
    """The key was changed since it was wrapped, or what wrapped it is not given. The message says which."""


class KeyWrapping:
    """Wraps keys of 32 bytes for one purpose: by the ring, when that closes; else by the key; else not at all.

    Whatever wraps now, what any of those given has wrapped is unwrapped: so processes of before and after a change of the
    master key work side by side, in either direction.
    """

    def __init__(
        self, purpose: Kind, *, key: bytes | None, former: Iterable[bytes] = (), ring: KeyRing | None = None
    ) -> None:
        self._purpose: Kind = purpose
        self._key, self._ring = key, ring
        self._ciphers = {key_id_of(one): AESGCM(one) for one in (*former, *(() if key is None else (key,)))}

    @property
    def key_id(self) -> str:
        """What names whatever wraps from now on; empty for nothing."""
        if self._by_ring is not None:
            return BY_TENANT_KEY
        return "" if self._key is None else key_id_of(self._key)

    @property
    def _by_ring(self) -> KeyRing | None:
        return self._ring if self._ring is not None and self._ring.closes else None

    async def wrap(self, tenant_id: UUID, own_id: UUID, key: bytes) -> bytes:
        """The key as it may be kept: bound to its own id, and by the ring to its tenant and purpose too.

        Raises KeyServiceUnusable.
        """
        if (ring := self._by_ring) is not None:
            by = await self._tenants_key(ring, tenant_id)
            bound_to = _MARK + by.key_id.bytes + self._bound_to(tenant_id, own_id)
            return _MARK + by.key_id.bytes + _encrypt(AESGCM(by.key), key, bound_to)
        return key if self._key is None else _encrypt(AESGCM(self._key), key, own_id.bytes)

    async def unwrap(self, tenant_id: UUID, own_id: UUID, wrapped: bytes) -> bytes:
        """The key. Raises NotUnwrapped, KeyServiceUnusable."""
        if len(wrapped) == _BY_TENANT_BYTES and wrapped.startswith(_MARK):
            return await self._unwrapped_by_ring(tenant_id, own_id, wrapped)
        if len(wrapped) == KEY_BYTES:
            if self._ciphers or self._ring is not None:
                raise NotUnwrapped("The key is not wrapped, and a master key is given.")
            return wrapped
        for cipher in self._ciphers.values():
            with suppress(InvalidTag, ValueError):
                return cipher.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], own_id.bytes)
        if not self._ciphers:
            raise NotUnwrapped("The key is wrapped, and no master key is given.")
        raise NotUnwrapped("The key was changed since, or its master key is not given; see DCF_FORMER_MASTER_KEYS.")

    def knows(self, key_id: str) -> bool:
        """Whether what a key of this id has wrapped can be unwrapped here."""
        return self._ring is not None if key_id == BY_TENANT_KEY else key_id in self._ciphers

    async def fingerprint(self, tenant_id: UUID, content: bytes) -> bytes:
        """32 bytes that tell contents apart and by which nobody without the key can guess one. Raises KeyServiceUnusable."""
        if (ring := self._by_ring) is not None:
            own = (await self._tenants_key(ring, tenant_id)).key
            return hmac.digest(hmac.digest(own, b"dcf/fingerprint", "sha256"), content, "sha256")
        return hmac.digest(self._key or b"", content, "sha256")

    async def _tenants_key(self, ring: KeyRing, tenant_id: UUID) -> TenantKey:
        """What closes the tenant's values; it is for ever the same, so that none is made beside one that cannot be had.

        Raises KeyServiceUnusable.
        """
        try:
            return await ring.key(tenant_id, self._purpose)
        except (WrappingForged, ServiceUnknown) as problem:
            remedy = (
                "Name the service that wrapped it among DCF_FORMER_MASTER_KEY_SERVICES; if it was changed, restore it."
            )
            raise TenantKeyUnusable(str(problem), remedy) from problem

    async def _unwrapped_by_ring(self, tenant_id: UUID, own_id: UUID, wrapped: bytes) -> bytes:
        if self._ring is None:
            raise NotUnwrapped(
                "The key is wrapped by a key service, and none is given; see DCF_FORMER_MASTER_KEY_SERVICES."
            )
        try:
            by = await self._ring.key(tenant_id, self._purpose)
        except (WrappingForged, ServiceUnknown) as problem:
            raise NotUnwrapped(str(problem)) from problem
        except KeyError as problem:
            raise NotUnwrapped("The tenant's key is not kept here.") from problem
        head, sealed = wrapped[: len(_MARK) + 16], wrapped[len(_MARK) + 16 :]
        if head != _MARK + by.key_id.bytes:
            raise NotUnwrapped("The key is wrapped by another key than its tenant's.")
        try:
            bound_to = head + self._bound_to(tenant_id, own_id)
            return AESGCM(by.key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound_to)
        except InvalidTag as error:
            raise NotUnwrapped("The key was changed since it was wrapped.") from error

    def _bound_to(self, tenant_id: UUID, own_id: UUID) -> bytes:
        return tenant_id.bytes + own_id.bytes + self._purpose.encode()


def _encrypt(cipher: AESGCM, content: bytes, bound_to: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, content, bound_to)


_WRAPPINGS = "SELECT w.key_id, w.held FROM vault.wrappings() w WHERE w.kind = $1"


async def counted(database: Database, kind: Kind) -> dict[str, int]:
    """How many each key wraps; the empty id is for those of which nobody noted it."""
    return {row["key_id"]: row["held"] for row in await database.fetch(_WRAPPINGS, kind)}
