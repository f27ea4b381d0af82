"""A personal value as events carry it: encrypted under its person's key, and never opened by the domain."""

from __future__ import annotations

from typing import NewType

# Base64 of nonce, ciphertext and tag. Destroying the person's key makes it unreadable for ever.
Sealed = NewType("Sealed", str)
