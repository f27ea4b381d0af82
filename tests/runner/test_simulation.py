"""Many seeds of a town in a storm; see simulation.py for what must hold."""

from __future__ import annotations

from datetime import datetime

import pytest

from domain.deployment import Deployment
from providers.provider import Observation
from runner import discretion, plan
from runner.plan import next_step
from runner.world import Plan
from tests.runner.simulation import play
from tests.support.limits import Violated

SEEDS = 50
SEEDS_PER_TEST = 10
SEEDS_OF_PROOF = 3_000
# How many seeds a defect may need to show.
DEFECT_SEEDS_MAX = 30


class TestAStorm:
    @pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_PER_TEST))
    def test_leaves_every_deployment_with_one_outcome_and_no_duplicate(self, first: int) -> None:
        for seed in range(first, first + SEEDS_PER_TEST):
            play(seed)

    @pytest.mark.proof
    @pytest.mark.timeout(1800)
    def test_leaves_none_of_thousands_otherwise(self) -> None:
        for seed in range(SEEDS, SEEDS_OF_PROOF):
            play(seed)


def fails_at_once(recorded: Deployment, observed: Observation | None, at: datetime) -> plan.Step:
    """A defect: does not take away what a failing deployment made."""
    step = plan.next_step(recorded, observed, at)
    if isinstance(step, plan.Withdraw) and recorded.failing is not None and recorded.status != "undeploying":
        return plan.Fail(failure=recorded.failing)
    return step


def succeeds_too_early(recorded: Deployment, observed: Observation | None, at: datetime) -> plan.Step:
    """A defect: reports success before the release serves."""
    step = plan.next_step(recorded, observed, at)
    return plan.NoteActivated() if isinstance(step, plan.Promote) else step


def play_many(defect: Plan) -> None:
    for seed in range(DEFECT_SEEDS_MAX):
        play(seed, plan=defect)


class TestADefect:
    """The check can fail: a defect put in by hand is found."""

    @pytest.mark.parametrize("defect", [fails_at_once, succeeds_too_early])
    def test_is_found(self, defect: Plan) -> None:
        with pytest.raises(Violated, match=r"python -m tests\.runner\.simulation"):
            play_many(defect)

    def test_that_tells_what_a_program_said_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(discretion, "hide_in_excerpt", lambda text, _: text)

        with pytest.raises(Violated, match="a secret stands in"):
            play_many(next_step)
