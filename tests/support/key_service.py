"""A key service in memory: it keeps its key to itself, binds what it is told, and goes away or refuses when a test wants it to."""

from __future__ import annotations

import asyncio
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from process.key_service import KeyContext, KeyServiceAway, KeyServiceRefused, WrappedKey, WrappingForged

_NONCE_BYTES = 12


class MemoryKeyService:
    """`calls` counts what it was asked. `away` and `refuses` are switches; while `held` is not set, nobody is answered."""

    def __init__(self, name: str = "memory:one") -> None:
        self._name = name
        self._versions = {"1": AESGCM(os.urandom(32))}
        self.calls = 0
        self.away = self.refuses = self.closed = False
        self.held = asyncio.Event()
        self.held.set()

    @property
    def name(self) -> str:
        return self._name

    def rotate(self) -> None:
        """A new version wraps from now on; the former ones unwrap."""
        self._versions[str(len(self._versions) + 1)] = AESGCM(os.urandom(32))

    async def wrap(self, key: bytes, context: KeyContext) -> WrappedKey:
        await self._asked()
        version, cipher = list(self._versions.items())[-1]
        nonce = os.urandom(_NONCE_BYTES)
        return WrappedKey(self._name, version, nonce + cipher.encrypt(nonce, key, context.encoded()))

    async def unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytes:
        await self._asked()
        cipher = self._versions.get(wrapped.version)
        if cipher is None or wrapped.service != self._name:
            raise WrappingForged(f"The key was not wrapped by {self._name}.")
        try:
            return cipher.decrypt(wrapped.content[:_NONCE_BYTES], wrapped.content[_NONCE_BYTES:], context.encoded())
        except (InvalidTag, ValueError) as error:
            raise WrappingForged(f"The key was not wrapped by {self._name} for this.") from error

    async def close(self) -> None:
        self.closed = True

    async def _asked(self) -> None:
        self.calls += 1
        await self.held.wait()
        if self.away:
            raise KeyServiceAway(f"{self._name} does not answer.", "Wait.")
        if self.refuses:
            raise KeyServiceRefused(f"{self._name} is disabled.", "Enable it.")
