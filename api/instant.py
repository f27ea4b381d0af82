"""A point in time as the address of a request names it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec

Instant = Annotated[datetime, msgspec.Meta(tz=True)]


def instant(text: str) -> datetime:
    """The time, in UTC. Raises ValueError unless it is one with its zone (RFC 3339) that UTC can express."""
    try:
        return msgspec.convert(text, Instant).astimezone(UTC)
    except OverflowError as error:
        raise ValueError("a time outside the years 1 to 9999") from error
