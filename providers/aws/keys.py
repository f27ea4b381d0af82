"""What STS gave for one role."""

from __future__ import annotations

import msgspec


class Keys(msgspec.Struct, frozen=True):
    """What STS gave for one role. `expires_at` is in seconds since 1970."""

    access_key: str
    secret_key: str
    session_token: str
    expires_at: float

    def __repr__(self) -> str:
        return "Keys(********)"
