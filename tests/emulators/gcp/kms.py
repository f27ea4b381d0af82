"""Cloud KMS: symmetric keys with versions, additional data and checksums; states and refusals by hand."""

from __future__ import annotations

import base64
import os
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.emulators.gcp.account import Account
from tests.emulators.gcp.answers import Refused
from tests.emulators.gcp.calls import Call, Methods

_NONCE_BYTES = 12
_K = "cloudkms.projects.locations.keyRings.cryptoKeys"


class KeyManagement:
    """Keys by name, such as `projects/P/locations/L/keyRings/R/cryptoKeys/K`. `damages` are answers still to be spoilt."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._keys: dict[str, list[AESGCM]] = {}
        self.disabled: set[str] = set()
        self.damages = 0

    @property
    def methods(self) -> Methods:
        return {f"{_K}.encrypt": self._encrypt, f"{_K}.decrypt": self._decrypt}

    def rotate(self, name: str) -> None:
        """Make a version, the first or another, that wraps from now on."""
        self._keys.setdefault(name, []).append(AESGCM(os.urandom(32)))

    def _encrypt(self, call: Call) -> dict[str, Any]:
        name = call.path["name"]
        versions = self._usable(call, name, "useToEncrypt")
        plain, bound = self._checked(call, "plaintext"), self._checked(call, "additionalAuthenticatedData")
        nonce = os.urandom(_NONCE_BYTES)
        sealed = bytes([len(versions)]) + nonce + versions[-1].encrypt(nonce, plain, bound)
        return {
            "name": f"{name}/cryptoKeyVersions/{len(versions)}",
            "ciphertext": _text(sealed),
            "ciphertextCrc32c": self._sum(sealed),
            "verifiedPlaintextCrc32c": True,
            "verifiedAdditionalAuthenticatedDataCrc32c": True,
            "protectionLevel": "SOFTWARE",
        }

    def _decrypt(self, call: Call) -> dict[str, Any]:
        name = call.path["name"]
        versions = self._usable(call, name, "useToDecrypt")
        sealed, bound = self._checked(call, "ciphertext"), self._checked(call, "additionalAuthenticatedData")
        try:
            cipher = versions[sealed[0] - 1]
            plain = cipher.decrypt(sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :], bound)
        except (InvalidTag, ValueError, IndexError):
            raise Refused(400, "Decryption failed: verify that 'name' refers to the correct CryptoKey.") from None
        return {"plaintext": _text(plain), "plaintextCrc32c": self._sum(plain), "protectionLevel": "SOFTWARE"}

    def _usable(self, call: Call, name: str, verb: str) -> list[AESGCM]:
        self._account.require(call.member, f"cloudkms.cryptoKeyVersions.{verb}", name)
        if name not in self._keys:
            raise Refused(404, f"CryptoKey {name} not found.")
        if name in self.disabled:
            version = f"{name}/cryptoKeyVersions/{len(self._keys[name])}"
            raise Refused(400, f"{version} is not enabled, current state is: DISABLED.", status="FAILED_PRECONDITION")
        return self._keys[name]

    def _checked(self, call: Call, field: str) -> bytes:
        content = base64.b64decode(call.body.get(field, ""))
        if int(call.body[f"{field}Crc32c"]) != crc32c(content):
            raise Refused(400, f"The {field} checksum does not match.")
        return content

    def _sum(self, content: bytes) -> str:
        spoilt = self.damages > 0
        self.damages -= spoilt
        return str(crc32c(content) ^ spoilt)


def crc32c(content: bytes) -> int:
    """Bit by bit, as the polynomial says: not as the service under test does it."""
    value = 0xFFFF_FFFF
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F6_3B78 * (value & 1))
    return value ^ 0xFFFF_FFFF


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
