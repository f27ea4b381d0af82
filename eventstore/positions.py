"""A position as clients hold it: an opaque token that names the epoch it belongs to."""

from __future__ import annotations

import re

from domain.refusal import Conflict, FieldError, Invalid

POSITION_PATTERN = "^[0-9]{1,9}:[0-9]{1,18}$"
_TOKEN = re.compile(r"([0-9]{1,9}):([0-9]{1,18})", re.ASCII)


class MalformedPosition(Invalid):
    """This is no position of the log."""

    code = "malformed_position"
    remedy = "Use a position exactly as an earlier answer gave it."


class PositionOfAnotherEpoch(Conflict):
    """The position belongs to another epoch of the log, from before it was restored."""

    code = "position_of_another_epoch"
    remedy = "Read again from the beginning: what this position pointed at may be another event now."


def format_position(epoch: int, position: int) -> str:
    return f"{epoch}:{position}"


def parse_position(token: str, *, epoch: int, field: str = "") -> int:
    """The position in the present epoch. Raises MalformedPosition or PositionOfAnotherEpoch, which name the field."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise MalformedPosition(errors=_named(field, "no position of the log"))
    if int(match[1]) != epoch:
        raise PositionOfAnotherEpoch(errors=_named(field, "a position of another epoch"))
    return int(match[2])


def _named(field: str, message: str) -> tuple[FieldError, ...]:
    return (FieldError(field=field, message=message),) if field else ()
