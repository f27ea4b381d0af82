"""A service that holds the master key and lets nobody see it: what a cloud's KMS is to us, and how it may fail."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

import msgspec


class KeyContext(msgspec.Struct, frozen=True):
    """What a key is for. It is bound to the wrapping: nobody can put one in the place of another's."""

    tenant_id: UUID
    purpose: str
    key_id: UUID

    def pairs(self) -> dict[str, str]:
        """For services that bind names and values, and show them in their own audit: ids, nothing else."""
        return {"dcf-tenant": str(self.tenant_id), "dcf-purpose": self.purpose, "dcf-key": str(self.key_id)}

    def encoded(self) -> bytes:
        """For services that bind bytes; always the same ones."""
        return b"dcf/wrapped-key/1\n" + "\n".join(f"{name}={value}" for name, value in self.pairs().items()).encode()


class WrappedKey(msgspec.Struct, frozen=True):
    """A key as a service wrapped it. `service` is the name of that service's key as operators write it; `version` says which
    version of it, and is empty where the service knows by itself."""

    service: str
    version: str
    content: bytes


class KeyServiceUnusable(Exception):
    """The key cannot be had now, and nothing is wrong with what it opens: asked again later it may be.

    The message says what happened, `remedy` what an operator does about it.
    """

    def __init__(self, message: str, remedy: str, *, retry_after_seconds: float = 5.0) -> None:
        super().__init__(message)
        self.message, self.remedy, self.retry_after_seconds = message, remedy, retry_after_seconds


class KeyServiceAway(KeyServiceUnusable):
    """The service does not answer, or asks to be left alone for a while."""


class KeyServiceRefused(KeyServiceUnusable):
    """The service answers, and does not let us: a right is missing, the key is disabled, or there is none of that name."""


class TenantKeyUnusable(KeyServiceUnusable):
    """One tenant's key cannot be had until an operator mends it; those of others are no different for it."""


class WrappingForged(Exception):
    """The wrapping is not what the service made for this context, or was changed since. The message says by which."""


class KeyService(Protocol):
    """Wraps keys of 32 bytes under a key that never leaves it. Doing either twice does no harm."""

    @property
    def name(self) -> str:
        """The key as operators write it in DCF_MASTER_KEY_SERVICE; it stands beside what it wrapped."""
        ...

    async def wrap(self, key: bytes, context: KeyContext) -> WrappedKey:
        """Under the newest version. Raises KeyServiceAway, KeyServiceRefused."""
        ...

    async def unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytes:
        """What was wrapped for this very context. Raises WrappingForged, KeyServiceAway, KeyServiceRefused."""
        ...

    async def close(self) -> None:
        """End the connections."""
        ...
