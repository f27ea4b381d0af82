"""A moment as people type it: a time, a day, how long ago or ahead, or a position of the log."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

_POSITION = re.compile(r"[0-9]+:[0-9]+", re.ASCII)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_AGO = re.compile(r"([1-9][0-9]{0,5})([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """Converts to what the API takes: an RFC 3339 time, or a position as it is."""

    name = "WHEN"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if _POSITION.fullmatch(value):
            return value
        if ago := _AGO.fullmatch(value):
            return _text(datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])}))
        at = _read(f"{value}T00:00:00+00:00" if _DAY.fullmatch(value) else value)
        if at is None or at.tzinfo is None:
            self.fail(
                f"{value!r} is none of 2026-05-13, 2026-05-13T08:00:00Z, 30m, 12h, 7d (ago), or a position of the log",
                param,
                ctx,
            )
        return _text(at)


class Ahead(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """Converts to an RFC 3339 time to come; whether it is to come the API says."""

    name = "WHEN"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if ahead := _AGO.fullmatch(value):
            return _text(datetime.now(UTC) + timedelta(**{_UNITS[ahead[2]]: int(ahead[1])}))
        at = _read(f"{value}T00:00:00+00:00" if _DAY.fullmatch(value) else value)
        if at is None or at.tzinfo is None:
            self.fail(f"{value!r} is none of 30m, 12h, 7d (from now), 2026-05-13, 2026-05-13T08:00:00Z", param, ctx)
        return _text(at)


MOMENT = Moment()
AHEAD = Ahead()


def _read(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
