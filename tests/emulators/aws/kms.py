"""KMS: symmetric keys, their versions, aliases and states; by hand, since what callers rely on is how it says no."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.emulators.aws.account import Account, Session
from tests.emulators.aws.answers import Refused

_NONCE_BYTES = 12


class _Key:
    def __init__(self, arn: str) -> None:
        self.arn, self.id = arn, arn.rpartition("/")[2]
        self.versions = [AESGCM(os.urandom(32))]
        self.enabled = True


class Kms:
    """A ciphertext says by itself which key and version made it, as Amazon's do."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._keys: dict[str, _Key] = {}
        self._aliases: dict[str, str] = {}
        self._lock = threading.RLock()
        self.methods: Mapping[str, Any] = {
            "CreateAlias": self._name,
            "CreateKey": self._create,
            "Decrypt": self._decrypt,
            "DisableKey": self._disable,
            "Encrypt": self._encrypt,
            "RotateKeyOnDemand": self._rotate,
            "UpdateAlias": self._name,
        }

    def _create(self, given: dict[str, Any], _: Session | None) -> dict[str, Any]:
        with self._lock:
            key = _Key(self._account.arn("kms", f"key/{uuid4()}"))
            self._keys[key.id] = key
        return {"KeyMetadata": {"KeyId": key.id, "Arn": key.arn, "Enabled": True, "KeyState": "Enabled"}}

    def _name(self, given: dict[str, Any], _: Session | None) -> dict[str, Any]:
        self._aliases[given["AliasName"]] = self._found(given["TargetKeyId"]).id
        return {}

    def _disable(self, given: dict[str, Any], _: Session | None) -> dict[str, Any]:
        self._found(given["KeyId"]).enabled = False
        return {}

    def _rotate(self, given: dict[str, Any], _: Session | None) -> dict[str, Any]:
        key = self._found(given["KeyId"])
        key.versions.append(AESGCM(os.urandom(32)))
        return {"KeyId": key.id}

    def _encrypt(self, given: dict[str, Any], _: Session | None) -> dict[str, Any]:
        key = self._usable(given["KeyId"])
        nonce = os.urandom(_NONCE_BYTES)
        sealed = key.versions[-1].encrypt(nonce, given["Plaintext"], _bound(given))
        blob = f"{key.id}/{len(key.versions) - 1}\n".encode() + nonce + sealed
        return {"CiphertextBlob": blob, "KeyId": key.arn, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}

    def _decrypt(self, given: dict[str, Any], _: Session | None) -> dict[str, Any]:
        head, _, sealed = given["CiphertextBlob"].partition(b"\n")
        key_id, _, version = head.decode(errors="replace").partition("/")
        made_by = self._keys.get(key_id)
        asked_for = self._usable(given["KeyId"]) if given.get("KeyId") else made_by
        if made_by is None:
            raise Refused("InvalidCiphertextException", "")
        if asked_for is not made_by:
            message = "The key ID in the request does not identify a CMK that can perform this operation."
            raise Refused("IncorrectKeyException", message)
        try:
            plain = made_by.versions[int(version)].decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound(given))
        except (InvalidTag, ValueError, IndexError):
            raise Refused("InvalidCiphertextException", "") from None
        return {"KeyId": made_by.arn, "Plaintext": plain, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}

    def _usable(self, named: str) -> _Key:
        key = self._found(named)
        if not key.enabled:
            raise Refused("DisabledException", f"{key.arn} is disabled.")
        return key

    def _found(self, named: str) -> _Key:
        """By id, ARN, alias or an alias's ARN. Raises Refused."""
        if not named.startswith("arn:"):
            name = named
        elif (prefix := self._account.arn("kms", "")) and named.startswith(prefix):
            name = named.removeprefix(prefix).removeprefix("key/")
        else:
            raise Refused("NotFoundException", f"Invalid arn {named}")
        key = self._keys.get(self._aliases.get(name, name))
        if key is None:
            raise Refused("NotFoundException", f"Key '{named}' does not exist")
        return key


def _bound(given: dict[str, Any]) -> bytes:
    return json.dumps(given.get("EncryptionContext") or {}, sort_keys=True).encode()
