"""When a cloud is asked again: ever more rarely while nothing changes, at once after something did, never before it allows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from uuid import UUID

import pytest

from domain.deployment import DeploymentWaiting
from providers.provider import Observation, Order, ProviderBusy
from providers.simulated.provider import SimulatedProvider
from providers.simulated.weather import Behaviour
from runner.patience import JITTER, POLL_GROWTH, POLL_SECONDS_MAX, POLL_SECONDS_MIN, RETRY_SECONDS_ASKED_MAX
from tests.runner.town import Town
from tests.support import virtual_time

BUILD_SECONDS = 300.0
HEALTHY_SECONDS = 60.0
SLOW = Behaviour(build_seconds=BUILD_SECONDS, healthy_after_seconds=HEALTHY_SECONDS)


class Asked(SimulatedProvider):
    """Notes when it was asked about anything, and once asks to be left alone for `away_seconds`."""

    away_seconds = 0.0
    looks: list[float]

    async def observe(self, order: Order) -> Observation:
        self.looks.append(self._clock())
        seconds, self.away_seconds = self.away_seconds, 0.0
        if seconds:
            raise ProviderBusy("Too many requests.", retry_in_seconds=seconds)
        return await super().observe(order)


def play(scene: Callable[[Town, Asked, UUID], Awaitable[None]]) -> None:
    """One slow deployment, by a runner at work."""

    async def played() -> None:
        town = Town(cloud=Asked)
        cloud, stop = town.cloud, asyncio.Event()
        assert isinstance(cloud, Asked)
        cloud.looks = []
        await town.found()
        await town.settle()
        deployment_id = await town.queue(behaviour=SLOW)
        working = asyncio.create_task(town.runner().run(stop))
        await scene(town, cloud, deployment_id)
        stop.set()
        await working

    virtual_time.run(played())


def pauses(looks: list[float], start: float, end: float) -> list[float]:
    """Between the looks at what went on by itself from `start` to `end`; what is looked at again at once is no pause."""
    between = (later - before for before, later in pairwise(at for at in looks if start <= at < end))
    return [seconds for seconds in between if seconds > 0]


@pytest.fixture(scope="module")
def while_nothing_changes() -> tuple[list[float], list[float]]:
    """The pauses between looks at one deployment, while it was built and while it came up."""
    found: list[list[float]] = []

    async def scene(town: Town, cloud: Asked, deployment_id: UUID) -> None:
        assert await town.settled(seconds_max=600, of=[deployment_id])
        build, service = cloud.made[deployment_id].build.actual, cloud.made[deployment_id].service.actual
        assert build is not None
        assert service is not None
        found.append(pauses(cloud.looks, build.started_at, build.ends_at))
        found.append(pauses(cloud.looks, service.healthy_at - HEALTHY_SECONDS, service.healthy_at))

    play(scene)
    building, coming_up = found
    return building, coming_up


class TestPolling:
    def test_becomes_rarer_step_by_step_until_it_is_as_rare_as_it_may_be(
        self, while_nothing_changes: tuple[list[float], list[float]]
    ) -> None:
        building, _ = while_nothing_changes

        for n, pause in enumerate(building, start=1):
            foreseen = min(POLL_SECONDS_MIN * POLL_GROWTH**n, POLL_SECONDS_MAX)
            assert foreseen * (1 - JITTER) <= pause <= foreseen * (1 + JITTER) + 1e-6, f"pause {n}"
        assert building[-1] > 10 * building[0]
        assert len(set(building)) == len(building), "what was begun together must not stay together"

    def test_asks_about_a_long_build_some_sixty_times_in_five_minutes(
        self, while_nothing_changes: tuple[list[float], list[float]]
    ) -> None:
        often = BUILD_SECONDS / POLL_SECONDS_MAX

        assert often <= len(while_nothing_changes[0]) <= 1.5 * often

    def test_starts_anew_after_a_change(self, while_nothing_changes: tuple[list[float], list[float]]) -> None:
        building, coming_up = while_nothing_changes

        assert building[-1] > POLL_SECONDS_MAX * (1 - JITTER) - POLL_SECONDS_MIN
        assert coming_up[0] < 2 * POLL_SECONDS_MIN
        assert coming_up[-1] > 2


class TestBeingAskedToWait:
    @pytest.mark.parametrize(
        ("asked_seconds", "at_least"),
        [(45.0, 45.0), (10_000.0, RETRY_SECONDS_ASKED_MAX)],
        ids=["for a while", "for hours"],
    )
    def test_is_obeyed_as_far_as_is_sensible_and_told(self, asked_seconds: float, at_least: float) -> None:
        async def scene(town: Town, cloud: Asked, deployment_id: UUID) -> None:
            await asyncio.sleep(30)
            cloud.away_seconds = asked_seconds
            await asyncio.sleep(200)

            assert cloud.away_seconds == 0
            longest = max(pauses(cloud.looks, 30, 230))
            assert at_least <= longest <= at_least * (1 + JITTER)
            [waiting] = [event for event in await town.events(deployment_id) if isinstance(event, DeploymentWaiting)]
            assert waiting.message == "Too many requests."
            assert waiting.retry_in_seconds == pytest.approx(longest, abs=0.1)

        play(scene)

    def test_for_less_than_it_would_wait_by_itself_makes_it_no_faster(self) -> None:
        async def scene(town: Town, cloud: Asked, deployment_id: UUID) -> None:
            await asyncio.sleep(30)
            for _ in range(5):
                cloud.away_seconds = 0.001
                before = len(cloud.looks)
                while cloud.away_seconds:
                    await asyncio.sleep(0.01)
                assert len(cloud.looks) == before + 1
                await asyncio.sleep(0.3)
                assert len(cloud.looks) == before + 1

        play(scene)
