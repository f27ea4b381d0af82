"""A refusal that may only be a grant which spreads: awaited for a while, then failed, and never in the way of what passes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from commands.spreading import FAILED_SECONDS_MIN, glanced, judged
from domain.integration import Check, CheckStep

START = datetime(2026, 11, 27, 10, 0, tzinfo=UTC)
SECONDS = 420.0
REFUSED = (
    CheckStep(name="own_token", status="passed", message="Signed."),
    CheckStep(name="service_account", status="failed", code="BINDING", message="No binding.", remedy="gcloud add"),
)
OTHER = (CheckStep(name="bucket", status="failed", code="DENIED", message="Denied.", remedy="gcloud storage"),)
PASSED = (CheckStep(name="own_token", status="passed", message="Signed."),)


def look(status: Any, steps: tuple[CheckStep, ...], before: Check, seconds: float) -> Check:
    return judged(status, steps, spreads_seconds=SECONDS, before=before, at=START + timedelta(seconds=seconds))


FIRST = look("pending", REFUSED, Check(), 0)
FAILED = look("pending", REFUSED, FIRST, SECONDS)


class TestARefusal:
    def test_is_awaited_from_the_first_look_with_its_code_and_remedy(self) -> None:
        refused = FIRST.steps[1]

        assert (FIRST.status, FIRST.awaited_until) == ("pending", START + timedelta(seconds=SECONDS))
        assert (refused.status, refused.code, refused.remedy) == ("failed", "BINDING", "gcloud add")
        assert refused.message.startswith("No binding. ")
        assert refused.message.endswith("until 10:07:00 UTC.)")
        assert FIRST.steps[0] == REFUSED[0]

    def test_is_awaited_no_longer_however_often_it_is_looked_at(self) -> None:
        assert look("pending", REFUSED, FIRST, SECONDS - 1) == FIRST

    def test_has_failed_after_that_in_the_words_of_the_cloud(self) -> None:
        assert (FAILED.status, FAILED.steps) == ("failed", REFUSED)

    def test_has_failed_in_the_words_of_the_cloud_if_it_answers_no_more(self) -> None:
        assert look("pending", FIRST.steps, FIRST, SECONDS) == FAILED

    def test_that_failed_is_no_news_a_moment_later(self) -> None:
        assert look("pending", REFUSED, FAILED, SECONDS + FAILED_SECONDS_MIN - 1) == FAILED

    def test_that_failed_is_awaited_anew_when_somebody_comes_back_to_it(self) -> None:
        later = SECONDS + FAILED_SECONDS_MIN

        again = look("pending", REFUSED, FAILED, later)

        assert (again.status, again.awaited_until) == ("pending", START + timedelta(seconds=later + SECONDS))

    def test_of_what_worked_before_has_failed_at_once(self) -> None:
        taken = look("pending", REFUSED, Check(status="verified", steps=PASSED), 0)

        assert (taken.status, taken.steps) == ("failed", REFUSED)

    def test_of_something_else_is_awaited_by_itself(self) -> None:
        assert look("pending", OTHER, FIRST, 100).awaited_until == START + timedelta(seconds=100 + SECONDS)


@pytest.mark.parametrize("before", [Check(), FIRST, FAILED])
@pytest.mark.parametrize(
    ("status", "steps"),
    [("verified", PASSED), ("failed", REFUSED), ("pending", PASSED)],
    ids=["passed", "failed for certain", "put off by the cloud"],
)
def test_what_is_certain_is_so_at_once(status: Any, steps: tuple[CheckStep, ...], before: Check) -> None:
    assert look(status, steps, before, 60) == Check(status=status, steps=steps)


class TestAGlance:
    def test_has_failed_where_nobody_looks_again(self) -> None:
        assert glanced("pending", REFUSED, [Check()], START) == Check(status="failed", steps=REFUSED)

    def test_is_pending_where_the_same_is_awaited(self) -> None:
        seen = glanced("pending", REFUSED, [FIRST], START + timedelta(seconds=60))

        assert (seen.status, seen.steps) == ("pending", FIRST.steps)

    def test_has_failed_for_something_that_is_not_awaited(self) -> None:
        assert glanced("pending", OTHER, [FIRST], START).status == "failed"

    def test_has_failed_once_it_is_awaited_no_more(self) -> None:
        assert glanced("pending", REFUSED, [FIRST], START + timedelta(seconds=SECONDS)).status == "failed"
