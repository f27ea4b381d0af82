"""Which key-encryption key wraps how many keys: what tells whether a former one is still needed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Literal

import msgspec

from eventstore.database import Database

_KEY_ID_BYTES = 8

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


_WRAPPINGS = "SELECT w.key_id, w.held FROM vault.wrappings() w WHERE w.kind = $1"


async def counted(database: Database, kind: Kind) -> dict[str, int]:
    """How many each key wraps; the empty id is for those of which nobody noted it."""
    return {row["key_id"]: row["held"] for row in await database.fetch(_WRAPPINGS, kind)}
