"""Schedules: what is one, and when it is due, also on the days that clocks are changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest

from domain.cron import Cron, CronInvalid, ZoneUnknown, next_tick, parse, zone

MADRID = "Europe/Madrid"
SEEDS = 40


def due(text: str, place: str, after: str, count: int) -> list[str]:
    """The next instants, as the clocks there show them."""
    shown, at = [], datetime.fromisoformat(after).replace(tzinfo=UTC)
    for _ in range(count):
        found = next_tick(parse(text), zone(place), at)
        assert found is not None
        assert found > at
        at = found
        shown.append(at.astimezone(zone(place)).isoformat(timespec="minutes"))
    return shown


class TestParse:
    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("* * * *", "4 fields"),
            ("* * * * * *", "6 fields"),
            ("60 * * * *", "minute: '60'"),
            ("* 24 * * *", "hour: '24'"),
            ("* * 0 * *", "day of month: '0'"),
            ("* * * 13 *", "month: '13' must be a number from 1 to 12, or jan to dec"),
            ("* * * * 8", "day of week: '8'"),
            ("*/0 * * * *", "step"),
            ("*/x * * * *", "step"),
            ("10-5 * * * *", "ends before it begins"),
            ("1,,2 * * * *", "minute: ''"),
            ("-5 * * * *", "minute: ''"),
            ("٣ * * * *", "minute"),
            ("0 0 31 2,4,6 *", "never be due"),
            ("@daily", "1 fields"),
        ],
    )
    def test_says_what_is_wrong(self, text: str, problem: str) -> None:
        with pytest.raises(CronInvalid, match=problem):
            parse(text)

    def test_takes_names_ranges_lists_and_steps(self) -> None:
        assert parse("0 9-17/4,20 * JAN,mar-apr MON-FRI") == parse("0 9,13,17,20 * 1,3,4 1-5")

    def test_takes_seven_for_sunday(self) -> None:
        assert parse("0 0 * * 7") == parse("0 0 * * sun")

    def test_goes_on_to_the_end_from_a_number_with_a_step(self) -> None:
        assert parse("50/5 * * * *").minutes == (50, 55)


class TestZone:
    @pytest.mark.parametrize("name", ["Mars/Olympus", "", "Europe", "../etc/passwd", "posix/Europe/Madrid", "CEST+1"])
    def test_refuses_what_is_none(self, name: str) -> None:
        with pytest.raises(ZoneUnknown):
            zone(name)


class TestNextTick:
    def test_is_due_when_the_clocks_have_jumped_if_its_time_of_day_is_skipped(self) -> None:
        assert due("30 2 * * *", MADRID, "2026-03-28T00:00", 3) == [
            "2026-03-28T02:30+01:00",
            "2026-03-29T03:00+02:00",
            "2026-03-30T02:30+02:00",
        ]

    def test_is_due_once_for_several_times_skipped_together(self) -> None:
        assert due("0,30 2 * * *", MADRID, "2026-03-28T12:00", 2) == [
            "2026-03-29T03:00+02:00",
            "2026-03-30T02:00+02:00",
        ]

    def test_is_due_the_first_of_two_times_its_time_of_day_is_shown(self) -> None:
        assert due("30 2 * * *", MADRID, "2026-10-24T12:00", 2) == ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]

    def test_is_due_every_hour_that_really_passes(self) -> None:
        assert due("0 * * * *", MADRID, "2026-10-24T23:30", 4) == [
            "2026-10-25T02:00+02:00",
            "2026-10-25T02:00+01:00",
            "2026-10-25T03:00+01:00",
            "2026-10-25T04:00+01:00",
        ]
        assert due("0 * * * *", MADRID, "2026-03-28T23:30", 2) == ["2026-03-29T01:00+01:00", "2026-03-29T03:00+02:00"]

    def test_leaves_out_a_day_that_a_country_skipped(self) -> None:
        assert due("0 10 * * *", "Pacific/Apia", "2011-12-29T00:00", 3) == [
            "2011-12-29T10:00-10:00",
            "2011-12-31T00:00+14:00",
            "2011-12-31T10:00+14:00",
        ]

    def test_either_of_two_restricted_days_will_do(self) -> None:
        assert due("0 0 13 * fri", "UTC", "2026-02-01T12:00", 3) == [
            "2026-02-06T00:00+00:00",
            "2026-02-13T00:00+00:00",
            "2026-02-20T00:00+00:00",
        ]

    def test_both_must_do_when_one_begins_with_a_star(self) -> None:
        assert due("0 0 */2 * mon", "UTC", "2026-06-01T12:00", 2) == [
            "2026-06-15T00:00+00:00",
            "2026-06-29T00:00+00:00",
        ]

    def test_finds_the_29_february_over_a_century_without(self) -> None:
        assert due("0 0 29 2 *", "UTC", "2096-03-01T00:00", 1) == ["2104-02-29T00:00+00:00"]

    @pytest.mark.parametrize("seed", range(SEEDS))
    def test_finds_what_going_through_every_minute_finds(self, seed: int) -> None:
        """Goal: no instant is missed or made up. Method: random schedules over days that clocks are changed, put back
        by half an hour, or put back across midnight, against a walk through every minute."""
        random = Random(seed)
        place, begins = random.choice(
            [
                (MADRID, datetime(2026, 3, 28, tzinfo=UTC)),
                (MADRID, datetime(2026, 10, 24, tzinfo=UTC)),
                ("Australia/Lord_Howe", datetime(2026, 4, 4, tzinfo=UTC)),
                ("Australia/Lord_Howe", datetime(2026, 10, 3, tzinfo=UTC)),
                ("America/St_Johns", datetime(2006, 10, 28, 12, tzinfo=UTC)),
                ("Africa/Cairo", datetime(2026, 4, 23, tzinfo=UTC)),
                ("America/New_York", datetime(2026, 6, 1, tzinfo=UTC)),
            ]
        )
        cron, there = parse(_any_schedule(random)), zone(place)
        ends = begins + timedelta(days=2)

        found = []
        at: datetime | None = begins
        while at is not None and (at := next_tick(cron, there, at)) is not None and at <= ends:
            found.append(at)

        assert found == sorted(set(_walked(cron, there, begins, ends)))


def _any_schedule(random: Random) -> str:
    minute = random.choice(["*", "*/7", "0", "15,45", "30", "5-20/5"])
    hour = random.choice(["*", "*/2", "0", "2", "1-3", "23,0", "0-2"])
    return f"{minute} {hour} {random.choice(['*', '*/2', '25,28,29'])} * {random.choice(['*', 'sat,sun'])}"


def _walked(cron: Cron, place: ZoneInfo, begins: datetime, ends: datetime) -> Iterator[datetime]:
    at = begins
    while at < ends:
        before, at = at.astimezone(place).replace(tzinfo=None), at + timedelta(minutes=1)
        shown = at.astimezone(place)
        if _names(cron, shown) and not (cron.is_time_of_day and shown.fold):
            yield at
        skipped = before + timedelta(minutes=1)
        while cron.is_time_of_day and skipped < shown.replace(tzinfo=None):
            if _names(cron, skipped):
                yield at
            skipped += timedelta(minutes=1)


def _names(cron: Cron, shown: datetime) -> bool:
    return shown.minute in cron.minutes and shown.hour in cron.hours and cron.falls_on(shown.date())
