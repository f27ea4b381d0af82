"""Runtimes are data: dates decide, at the very instant asked about, what may still be done with each."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from domain.runtime import (
    Dates,
    DatesOutOfOrder,
    RuntimeExists,
    RuntimeNotFound,
    RuntimeNotSelectable,
    RuntimeUnknown,
    RuntimeVersionInvalid,
    days_until,
    standing,
)
from tests.support import a
from tests.support.scenario import given

MICROSECOND = timedelta(microseconds=1)
ANNOUNCED, BLOCKED, STOPPED = (a.AT + timedelta(days=days) for days in (10, 20, 30))
DATES = a.dates(deprecation_announced_at=ANNOUNCED, block_new_deploys_after=BLOCKED, disable_execution_after=STOPPED)


class TestAddRuntime:
    def test_adds_it_with_its_dates(self) -> None:
        given().when(a.add_runtime(deprecation_announced_at=ANNOUNCED)).then(
            a.runtime_added(deprecation_announced_at=ANNOUNCED)
        )

    def test_refuses_one_that_was_added(self) -> None:
        given(a.runtime_added()).when(a.add_runtime()).then_refused(RuntimeExists)

    def test_refuses_what_is_no_version(self) -> None:
        for text in ("3.11", "03.11.0", " 3.11.0", "3.11.0-01", "newest"):
            given().when(a.add_runtime(text)).then_refused(RuntimeVersionInvalid)

    def test_takes_a_version_before_its_release(self) -> None:
        given().when(a.add_runtime("3.12.0-113.2.beta")).then(a.runtime_added("3.12.0-113.2.beta"))

    @pytest.mark.parametrize(
        "changes",
        [
            {"deprecation_announced_at": a.LONG_AGO - MICROSECOND},
            {"deprecation_announced_at": BLOCKED, "block_new_deploys_after": ANNOUNCED},
            {"block_new_deploys_after": STOPPED, "disable_execution_after": BLOCKED},
            {"deprecation_announced_at": STOPPED, "disable_execution_after": BLOCKED},
            {"disable_execution_after": a.LONG_AGO - MICROSECOND},
        ],
    )
    def test_refuses_dates_out_of_order(self, changes: dict[str, Any]) -> None:
        given().when(a.add_runtime(**changes)).then_refused(DatesOutOfOrder)

    def test_takes_dates_that_fall_together(self) -> None:
        together: dict[str, Any] = {"deprecation_announced_at": BLOCKED, "block_new_deploys_after": BLOCKED}

        given().when(a.add_runtime(**together)).then(a.runtime_added(**together))


class TestSetRuntimeDates:
    def test_moves_them(self) -> None:
        given(a.runtime_added()).when(a.set_runtime_dates(block_new_deploys_after=BLOCKED)).then(
            a.runtime_dates_set(block_new_deploys_after=BLOCKED)
        )

    def test_takes_an_announcement_back(self) -> None:
        given(a.runtime_added(deprecation_announced_at=ANNOUNCED)).when(
            a.set_runtime_dates(deprecation_announced_at=None)
        ).then(a.runtime_dates_set())

    def test_leaves_what_it_does_not_name_as_another_has_set_it(self) -> None:
        given(a.runtime_added(), a.runtime_dates_set(deprecation_announced_at=ANNOUNCED)).when(
            a.set_runtime_dates(block_new_deploys_after=BLOCKED)
        ).then(a.runtime_dates_set(deprecation_announced_at=ANNOUNCED, block_new_deploys_after=BLOCKED))

    def test_changes_nothing_when_they_are_the_same(self) -> None:
        given(a.runtime_added()).when(a.set_runtime_dates()).then_nothing()

    def test_refuses_dates_out_of_order(self) -> None:
        given(a.runtime_added()).when(
            a.set_runtime_dates(block_new_deploys_after=STOPPED, disable_execution_after=BLOCKED)
        ).then_refused(DatesOutOfOrder)

    def test_refuses_a_runtime_that_was_never_added(self) -> None:
        given().when(a.set_runtime_dates()).then_refused(RuntimeNotFound)


class TestSetDefaultRuntime:
    def test_offers_it_first(self) -> None:
        given(a.runtime_added()).when(a.set_default_runtime()).then(a.runtime_default_set())

    def test_changes_nothing_when_it_is_the_default(self) -> None:
        given(a.runtime_added(), a.runtime_default_set()).when(a.set_default_runtime()).then_nothing()

    def test_refuses_one_that_new_drafts_cannot_choose(self) -> None:
        given(a.runtime_added(deprecation_announced_at=a.AT)).when(a.set_default_runtime()).then_refused(
            RuntimeNotSelectable, fields=("version",)
        )

    def test_refuses_a_runtime_that_was_never_added(self) -> None:
        given().when(a.set_default_runtime()).then_refused(RuntimeUnknown)


class TestStanding:
    @pytest.mark.parametrize(
        ("at", "phase", "deployable", "executable"),
        [
            (ANNOUNCED - MICROSECOND, "supported", True, True),
            (ANNOUNCED, "deprecating", True, True),
            (ANNOUNCED + MICROSECOND, "deprecating", True, True),
            (BLOCKED - MICROSECOND, "deprecating", True, True),
            (BLOCKED, "disabled", False, True),
            (BLOCKED + MICROSECOND, "disabled", False, True),
            (STOPPED - MICROSECOND, "disabled", False, True),
            (STOPPED, "disabled", False, False),
            (STOPPED + MICROSECOND, "disabled", False, False),
        ],
    )
    def test_gives_the_very_instant_to_the_later_phase(
        self, at: datetime, phase: str, deployable: bool, executable: bool
    ) -> None:
        found = standing(DATES, at)

        assert (found.phase, found.deployable, found.executable) == (phase, deployable, executable)

    @pytest.mark.parametrize(
        ("dates", "phase", "executable"),
        [
            (a.dates(), "supported", True),
            (a.dates(block_new_deploys_after=a.AT), "disabled", True),
            (a.dates(disable_execution_after=a.AT), "disabled", False),
        ],
    )
    def test_needs_only_the_dates_that_are_known(self, dates: Dates, phase: str, executable: bool) -> None:
        found = standing(dates, a.AT)

        assert (found.phase, found.executable) == (phase, executable)


class TestDaysUntil:
    @pytest.mark.parametrize(
        ("left", "days"),
        [
            (timedelta(days=3), 3),
            (timedelta(days=3) - MICROSECOND, 2),
            (timedelta(hours=23), 0),
            (timedelta(0), 0),
            (timedelta(days=-3), 0),
        ],
    )
    def test_counts_whole_days_and_never_below_none(self, left: timedelta, days: int) -> None:
        assert days_until(a.AT + left, a.AT) == days
