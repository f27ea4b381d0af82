"""Many seeds of a town whose schedules, drift, retention and integrations are looked after by runners that come and die;
see upkeep.py for what must hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from domain.deployment import Deployment
from domain.integration import Check
from domain.plan import Limits
from eventstore.ticks import MemoryTicks, Tick
from providers.provider import Finding, Observation
from runner import drift, propagation
from runner.retention import Retention
from tests.runner.upkeep import play
from tests.support import virtual_time
from tests.support.limits import Violated

SEEDS = 3
SEEDS_OF_PROOF = 150
# How many seeds a defect may need to show.
DEFECT_SEEDS_MAX = 12


class TestUpkeep:
    @pytest.mark.parametrize("seed", range(SEEDS))
    def test_calls_once_tells_changes_only_and_takes_nothing_away_that_is_needed(self, seed: int) -> None:
        play(seed)

    @pytest.mark.proof
    @pytest.mark.timeout(1800)
    def test_does_so_in_every_one_of_many_storms(self) -> None:
        for seed in range(SEEDS, SEEDS_OF_PROOF):
            play(seed)


class ForgetfulTicks(MemoryTicks):
    """A defect: whoever asks for a tick gets it, and nobody is told which was the newest."""

    async def take(self, ticks: Sequence[Tick], *, seconds: float) -> list[Tick]:
        await super().take(ticks, seconds=seconds)
        return list(ticks)

    async def newest(self, functions: Sequence[tuple[UUID, UUID]]) -> dict[UUID, datetime]:
        return {}


def restless(recorded: Deployment, observed: Observation) -> tuple[str, ...] | None:
    """A defect: tells what differs in other words each time."""
    found = _differences(recorded, observed)
    return tuple(f"{one}, as of {virtual_time.seconds():.0f}" for one in found) if found else found


async def keeps_one_less(self: Retention, tenant_id: UUID, limits: Limits) -> None:
    """A defect: counts the active one among those that are kept."""
    await _retire(self, tenant_id, msgspec.structs.replace(limits, releases_kept=limits.releases_kept - 1))


async def needs_nothing_else(self: Retention, tenant_id: UUID) -> Any:
    """A defect: forgets what releases were made from."""
    needed = await _needed(self, tenant_id)
    needed.artifact_ids.clear()
    needed.digests.clear()
    return needed


def settles_at_once(finding: Finding, before: Check, at: datetime, *, last: bool) -> Finding:
    """A defect: records each look at an integration."""
    return finding


_differences, _retire, _needed = drift.differences, Retention._retire, Retention._needed


class TestADefect:
    """The check can fail: a defect put in by hand is found."""

    @pytest.mark.parametrize(
        ("where", "name", "defect", "found"),
        [
            (drift, "differences", restless, "events of drift"),
            (Retention, "_retire", keeps_one_less, "of its last 2 good ones"),
            (Retention, "_needed", needs_nothing_else, "was discarded|is gone"),
            (propagation, "_settled", settles_at_once, "no news"),
        ],
    )
    def test_of_a_duty_is_found(
        self, where: object, name: str, defect: object, found: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(where, name, defect)

        with pytest.raises(Violated, match=found):
            play_many()

    def test_that_fires_twice_is_found(self) -> None:
        with pytest.raises(Violated, match=r"was called \d+ times for its tick"):
            play_many(lambda: ForgetfulTicks(virtual_time.now))


def play_many(ticks: Callable[[], MemoryTicks] | None = None) -> None:
    for seed in range(DEFECT_SEEDS_MAX):
        play(seed, ticks=ticks() if ticks else None)
