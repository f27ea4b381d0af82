"""New ids: UUIDs of version 7, which sort by the time they were made (RFC 9562, section 5.7), and of version 4."""

from __future__ import annotations

import os
import time
from uuid import UUID

from domain.uuids import uuid_of

_MILLISECONDS_PER_SECOND = 1000


def new_id() -> UUID:
    """48 bits of Unix milliseconds, then random bits."""
    milliseconds = int(time.time() * _MILLISECONDS_PER_SECOND)
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & (1 << 48) - 1) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return uuid_of(value)


def random_id() -> UUID:
    """Random but for its version, 4: for what nobody sorts."""
    value = int.from_bytes(os.urandom(16), "big")
    value = value & ~(0xF << 76) | 0x4 << 76
    return uuid_of(value & ~(0x3 << 62) | 0x2 << 62)
