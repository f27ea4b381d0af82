"""A point in time as a request names it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec

from api.refusals import BodyInvalid
from domain.refusal import FieldError

Instant = Annotated[datetime, msgspec.Meta(tz=True)]

_OUTSIDE = "a time outside the years 1 to 9999"


def instant(text: str) -> datetime:
    """The time, in UTC. Raises ValueError unless it is one with its zone (RFC 3339) that UTC can express."""
    try:
        return msgspec.convert(text, Instant).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(_OUTSIDE) from error


def in_utc(at: datetime, field: str) -> datetime:
    """The time a body gave, in UTC as all times are kept. Raises BodyInvalid, naming the field, when UTC has none such."""
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise BodyInvalid(
            f"The body does not have the form this request takes: {field} is {_OUTSIDE}.",
            errors=(FieldError(field=field, message=_OUTSIDE),),
        ) from error
