"""New ids: UUIDs of version 7, which sort by the time they were made (RFC 9562, section 5.7)."""

from __future__ import annotations

import os
import time
from uuid import UUID

_MILLISECONDS_PER_SECOND = 1000


def new_id() -> UUID:
    """48 bits of Unix milliseconds, then random bits."""
    milliseconds = int(time.time() * _MILLISECONDS_PER_SECOND)
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & (1 << 48) - 1) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)
