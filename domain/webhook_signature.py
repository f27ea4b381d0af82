"""Signatures of webhooks as the Standard Webhooks say: https://www.standardwebhooks.com, symmetric, version 1."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime

# What every secret begins with when it is shown.
PREFIX = "whsec_"
# Between 24 and 64, as the Standard Webhooks ask.
KEY_BYTES = 32


def secret_text(key: bytes) -> str:
    """The key as its owner is shown it."""
    return PREFIX + base64.b64encode(key).decode()


def key_of(text: str) -> bytes:
    """The key of a secret as it is shown."""
    return base64.b64decode(text.removeprefix(PREFIX))


def signed_headers(id: str, body: bytes, keys: Sequence[bytes], *, at: datetime) -> dict[str, str]:
    """The headers that tell who sent the message and when, with one signature for each key."""
    timestamp = str(int(at.timestamp()))
    content = b".".join((id.encode(), timestamp.encode(), body))
    signatures = (base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode() for key in keys)
    return {
        "webhook-id": id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
