"""The text of an API key: `dcf_`, the key's id, and a secret of which only a hash is kept."""

from __future__ import annotations

import hashlib
import re
import secrets
from uuid import UUID

import msgspec

SECRET_BYTES = 32
_TEXT = re.compile(r"dcf_([0-9a-f]{32})_([A-Za-z0-9_-]{43})")


class KeyText(msgspec.Struct, frozen=True):
    """A key in the clear: in memory only, and shown once."""

    key_id: UUID
    secret: str

    def __repr__(self) -> str:
        return f"KeyText({self.key_id})"

    @property
    def text(self) -> str:
        """What the caller sends as a bearer token."""
        return f"dcf_{self.key_id.hex}_{self.secret}"

    @property
    def secret_hash(self) -> str:
        """SHA-256 of the secret, hexadecimal. The secret is random, so a plain hash keeps it."""
        return hashlib.sha256(self.secret.encode()).hexdigest()


def new_key(key_id: UUID) -> KeyText:
    """A key with a new secret."""
    return KeyText(key_id, secrets.token_urlsafe(SECRET_BYTES))


def parse_key(text: str) -> KeyText | None:
    """The key in a text; None when it is none."""
    match = _TEXT.fullmatch(text)
    return KeyText(UUID(hex=match[1]), match[2]) if match else None
