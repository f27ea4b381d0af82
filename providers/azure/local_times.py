"""A schedule in a time zone as schedules in UTC: one for each offset that the zone has in the course of a year."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from importlib.resources import files

import msgspec

from domain.cron import Cron, parse, zone
from providers.provider import ProviderRefused

OFFSETS_MAX = 3
_LOOK, _LOOKS = timedelta(days=5), 75
_MINUTES_PER_DAY = 24 * 60


class InUtc(msgspec.Struct, frozen=True):
    """Five fields in UTC, which hold while the zone is this far ahead of it."""

    offset_seconds: int
    expression: str


def in_utc(cron: str, time_zone: str, now: datetime) -> tuple[InUtc, ...]:
    """The schedule as it is in UTC. Raises ProviderRefused for one of which no five fields in UTC say the same."""
    parsed, place = parse(cron), zone(time_zone)
    if parsed.days_or_weekdays:
        raise _refused(cron, time_zone, "days of the month together with days of the week")
    moments = (now + number * _LOOK for number in range(_LOOKS))
    offsets = {int((moment.astimezone(place).utcoffset() or timedelta()).total_seconds()) for moment in moments}
    if len(offsets) > OFFSETS_MAX:
        raise _refused(cron, time_zone, "a zone that changes its time so often")
    return tuple(InUtc(offset, _shifted(parsed, offset, cron, time_zone)) for offset in sorted(offsets))


def rule(time_zone: str) -> str:
    """The zone's rule as C libraries take it in TZ (POSIX), such as `CET-1CEST,M3.5.0,M10.5.0/3`: it needs no files.

    Raises ProviderRefused for a zone that only this machine knows.
    """
    try:
        kept = files("tzdata").joinpath("zoneinfo", *time_zone.split("/")).read_bytes()
    except OSError:
        raise _refused("its rule", time_zone, "a zone that is not in the IANA database") from None
    return kept.rstrip(b"\n").rpartition(b"\n")[2].decode()


def _shifted(parsed: Cron, offset_seconds: int, cron: str, time_zone: str) -> str:
    local = [hour * 60 + minute for hour in parsed.hours for minute in parsed.minutes]
    times = [divmod(time - offset_seconds // 60, _MINUTES_PER_DAY) for time in local]
    minutes, hours = {time % 60 for _, time in times}, {time // 60 for _, time in times}
    if len(minutes) * len(hours) != len(times):
        raise _refused(cron, time_zone, "these minutes and hours")
    weekdays, every_day = set(parsed.weekdays), len(parsed.days) == 31 and len(parsed.months) == 12
    turned = {days for days, _ in times}
    if turned != {0} and not (every_day and len(weekdays) == 7):
        if len(turned) > 1 or not every_day:
            raise _refused(cron, time_zone, "days that begin at another time in UTC")
        [shift] = turned
        weekdays = {(day + shift) % 7 for day in weekdays}
    fields = ((minutes, 60), (hours, 24), (parsed.days, 31), (parsed.months, 12), (weekdays, 7))
    return " ".join(_listed(values, count) for values, count in fields)


def _listed(values: Iterable[int], count: int) -> str:
    named = sorted(values)
    return "*" if len(named) == count else ",".join(map(str, named))


def _refused(cron: str, time_zone: str, what: str) -> ProviderRefused:
    return ProviderRefused(
        "schedule_not_expressible",
        f"Azure's jobs know UTC alone, and cannot be told {what}: {cron} in {time_zone}.",
        "Name the time in UTC, or save two functions.",
    )
