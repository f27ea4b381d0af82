"""When a schedule is due: five cron fields, read in a time zone.

A schedule whose minute and hour both name their values is a time of day: on the day that clocks skip it, it is due when
they have jumped; where they show it twice, it is due the first time. Any other schedule, one whose minute or hour begins
with `*`, follows the clock on the wall: what is skipped is left out, what is shown twice is due twice.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

import msgspec

# The longest any schedule pauses: from one 29 February to the next over a century that has none.
DAYS_MAX = 366 * 9
# No schedule that anybody means is longer.
TEXT_LENGTH_MAX = 128
_MINUTES_PER_HOUR = 60
_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)
_DAYS_OF_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


class CronInvalid(ValueError):
    """The text is no schedule; the message says why."""


class ZoneUnknown(ValueError):
    """There is no such time zone."""


class Cron(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule. `weekdays` count from Sunday, 0. `days_or_weekdays`: both are restricted, so either will do."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    days_or_weekdays: bool
    is_time_of_day: bool

    def falls_on(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return of_month or of_week if self.days_or_weekdays else of_month and of_week

    def first(self, minute: int) -> int | None:
        """The first minute of the day that it names, from `minute` on."""
        hour, past = divmod(minute, _MINUTES_PER_HOUR)
        at = bisect_left(self.hours, hour)
        if at < len(self.hours) and self.hours[at] == hour:
            rest = bisect_left(self.minutes, past)
            if rest < len(self.minutes):
                return hour * _MINUTES_PER_HOUR + self.minutes[rest]
            at += 1
        return self.hours[at] * _MINUTES_PER_HOUR + self.minutes[0] if at < len(self.hours) else None


class _Field(msgspec.Struct, frozen=True):
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _WEEKDAYS),
)


def parse(text: str) -> Cron:
    """Five fields: `*`, numbers, names of months and weekdays, ranges, lists and steps. Raises CronInvalid."""
    if len(text) > TEXT_LENGTH_MAX:
        raise CronInvalid(f"it has more than {TEXT_LENGTH_MAX} characters")
    parts = text.split()
    if len(parts) != len(_FIELDS):
        names = ", ".join(field.name for field in _FIELDS)
        raise CronInvalid(f"it has {len(parts)} fields, and needs five: {names}")
    minutes, hours, days, months, weekdays = (_values(part, field) for part, field in zip(parts, _FIELDS, strict=True))
    minute, hour, day, _, weekday = parts
    cron = Cron(
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=frozenset(days),
        months=frozenset(months),
        weekdays=frozenset(number % 7 for number in weekdays),
        days_or_weekdays=not (day.startswith("*") or weekday.startswith("*")),
        is_time_of_day=not (minute.startswith("*") or hour.startswith("*")),
    )
    if not cron.days_or_weekdays and not any(_DAYS_OF_MONTH[month - 1] >= min(days) for month in cron.months):
        raise CronInvalid("no month it names has such a day, so it would never be due")
    return cron


def _values(text: str, field: _Field) -> set[int]:
    values: set[int] = set()
    for item in text.split(","):
        values |= _range(item, field)
    return values


def _range(item: str, field: _Field) -> set[int]:
    span, slash, step = item.partition("/")
    if slash and not (step.isascii() and step.isdecimal() and 0 < int(step) <= field.high):
        raise CronInvalid(f"{field.name}: the step in {item!r} must be a number from 1 to {field.high}")
    low, dash, high = span.partition("-")
    if span == "*":
        first, last = field.low, field.high
    elif dash:
        first, last = _number(low, field), _number(high, field)
    else:
        first = _number(low, field)
        last = field.high if slash else first
    if first > last:
        raise CronInvalid(f"{field.name}: {item!r} ends before it begins")
    return set(range(first, last + 1, int(step or 1)))


def _number(text: str, field: _Field) -> int:
    if text.lower() in field.names:
        return field.names.index(text.lower()) + field.low
    if text.isascii() and text.isdecimal() and field.low <= int(text) <= field.high:
        return int(text)
    named = f", or {field.names[0]} to {field.names[-1]}" if field.names else ""
    raise CronInvalid(f"{field.name}: {text!r} must be a number from {field.low} to {field.high}{named}")


@cache
def _zone_names() -> frozenset[str]:
    return frozenset(available_timezones())


def zone(name: str) -> ZoneInfo:
    """A time zone of the IANA database, by its name. Raises ZoneUnknown."""
    if name not in _zone_names():
        raise ZoneUnknown(f"there is no time zone {name!r}")
    return ZoneInfo(name)


def next_tick(cron: Cron, place: ZoneInfo, after: datetime) -> datetime | None:
    """The first instant after `after` at which it is due, in UTC; None: not within DAYS_MAX days."""
    # A clock that is put back across midnight shows the end of a day after the beginning of the next: one day earlier
    # is looked at as well, and one day further than the first that has an instant.
    day = after.astimezone(place).date() - _DAY
    found: datetime | None = None
    for _ in range(DAYS_MAX):
        instant = _first_on(cron, place, day, after) if cron.falls_on(day) else None
        if found is not None:
            return min(found, instant) if instant else found
        found, day = instant, day + _DAY
    return found


def _first_on(cron: Cron, place: ZoneInfo, day: date, after: datetime) -> datetime | None:
    midnight = datetime.combine(day, time())
    end = midnight + _DAY
    offsets = {_offset(place, shown) for shown in (midnight, end, end.replace(fold=1))}
    passed = after.astimezone(UTC).replace(tzinfo=None) + min(offsets) - midnight
    minute = cron.first(0 if passed < timedelta() else passed // _MINUTE + 1)
    if len(offsets) == 1 or minute is None:
        return None if minute is None else (midnight + minute * _MINUTE - offsets.pop()).replace(tzinfo=UTC)
    found: datetime | None = None
    while minute is not None:
        shown = midnight + minute * _MINUTE
        if found is not None and (shown - max(offsets)).replace(tzinfo=UTC) > found:
            return found
        instants = (instant for instant in _shown_at(cron, place, shown) if instant > after)
        found = min((*instants, *((found,) if found else ())), default=None)
        minute = cron.first(minute + 1)
    return found


def _shown_at(cron: Cron, place: ZoneInfo, shown: datetime) -> Iterator[datetime]:
    """When it is due for what the clocks show, on a day that they are changed."""
    earlier, later = _offset(place, shown), _offset(place, shown.replace(fold=1))
    if earlier < later:
        if cron.is_time_of_day:
            yield _jump(place, shown, earlier, later)
        return
    yield (shown - earlier).replace(tzinfo=UTC)
    if earlier > later and not cron.is_time_of_day:
        yield (shown - later).replace(tzinfo=UTC)


def _jump(place: ZoneInfo, skipped: datetime, before: timedelta, after: timedelta) -> datetime:
    """When the clocks jumped over the time that is skipped."""
    low, high = ((skipped - offset).replace(tzinfo=UTC).timestamp() for offset in (after, before))
    seconds = range(int(low), int(high) + 1)
    at = bisect_left(seconds, True, key=lambda second: datetime.fromtimestamp(second, place).utcoffset() != before)
    return datetime.fromtimestamp(seconds[at], UTC)


def _offset(place: ZoneInfo, shown: datetime) -> timedelta:
    """How far the clock that shows this is ahead of UTC."""
    return shown.replace(tzinfo=place).utcoffset() or timedelta()
