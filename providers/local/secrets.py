"""The secrets of the agent's functions: closed on disk, opened when a process is started."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from providers.hiding import hide
from providers.local.engine import EngineUnavailable
from providers.provider import ProviderBusy

_NONCE_BYTES = 12
WITHHELD = "(What it wrote is withheld: its secrets cannot be opened, so that they could not be hidden in it.)"


class SecretsLocked(EngineUnavailable):
    """The agent's key is yet to come: what needs a secret waits for it, and has not failed."""


class AgentSecrets:
    """Closes with AES-256-GCM under the agent's key, bound to the deployment. Keys have 32 bytes; `former` open what they
    closed before."""

    def __init__(self, key: bytes | None, former: Iterable[bytes] = ()) -> None:
        """Without a key one is yet to come, by `add`."""
        self._cipher = None if key is None else AESGCM(key)
        self._ciphers = [*(() if self._cipher is None else (self._cipher,)), *map(AESGCM, former)]

    def add(self, key: bytes, *, closes: bool) -> None:
        """Another key that opens, and with `closes` closes from now on."""
        cipher = AESGCM(key)
        self._ciphers.insert(0, cipher)
        if closes:
            self._cipher = cipher

    def close(self, deployment_id: UUID, secrets: Mapping[str, str]) -> str:
        """The secrets as a record may hold them; nothing for none. Raises ProviderBusy while there is no key."""
        if not secrets:
            return ""
        if self._cipher is None:
            raise ProviderBusy("The service that keeps the master key has not given the agent its key yet.")
        nonce = os.urandom(_NONCE_BYTES)
        closed = nonce + self._cipher.encrypt(nonce, msgspec.json.encode(secrets), deployment_id.bytes)
        return base64.b64encode(closed).decode()

    def renewed(self, deployment_id: UUID, closed: str) -> str:
        """The same, closed under the current key, if there is one. Raises EngineUnavailable as `open` does."""
        if not closed or self._cipher is None or self._opened(self._cipher, deployment_id, closed) is not None:
            return closed
        return self.close(deployment_id, self.open(deployment_id, closed))

    def open(self, deployment_id: UUID, closed: str) -> dict[str, str]:
        """What was closed. Raises EngineUnavailable when it was closed under another master key, and SecretsLocked when that
        is not there yet."""
        if not closed:
            return {}
        for cipher in self._ciphers:
            if (opened := self._opened(cipher, deployment_id, closed)) is not None:
                return opened
        if self._cipher is None:
            raise SecretsLocked(
                "The service that keeps the master key has not given the agent its key yet.", "See `dcf doctor`."
            )
        raise EngineUnavailable(
            "The function's secrets were closed under another master key.",
            "Name the key it had in DCF_FORMER_MASTER_KEYS, or deploy the function again.",
        )

    def hide(self, deployment_id: UUID, closed: str, text: str) -> str:
        """The text without what was closed; nothing of it while that cannot be opened."""
        try:
            return hide(text, self.open(deployment_id, closed))
        except EngineUnavailable:
            return WITHHELD

    @staticmethod
    def _opened(cipher: AESGCM, deployment_id: UUID, closed: str) -> dict[str, str] | None:
        content = base64.b64decode(closed)
        with suppress(InvalidTag):
            opened = cipher.decrypt(content[:_NONCE_BYTES], content[_NONCE_BYTES:], deployment_id.bytes)
            return msgspec.json.decode(opened, type=dict[str, str])
        return None
