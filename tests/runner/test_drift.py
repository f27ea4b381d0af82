"""Drift: what the cloud shows against what was released, as events only when it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import ClassVar
from uuid import UUID

import msgspec
import pytest

from domain.deployment import Deployment
from providers.provider import Image, Observation, Order, Service
from providers.simulated.provider import SimulatedProvider
from providers.simulated.weather import FAIR, Behaviour, Weather
from runner.drift import LOOKS_AT_ONCE_MAX, LOOKS_PER_SECOND_MAX, differences
from tests.runner.test_loop import Working
from tests.runner.town import Town
from tests.support import virtual_time

# Clouds are looked at so often by default.
ROUND_SECONDS = 300.0

Scene = Callable[[Town], Awaitable[None]]

RELEASED = Deployment(url="https://f.example/", revision="r1", image_digest="sha256:1")
SERVICE = Service(status="healthy", url="https://f.example/", revision="r1", serving=True)
SHOWN = Observation(image=Image(reference="images/1", digest="sha256:1"), service=SERVICE)


def shown(**service: object) -> Observation:
    return msgspec.structs.replace(SHOWN, service=msgspec.structs.replace(SERVICE, **service))


class TestDifferences:
    @pytest.mark.parametrize(
        ("observed", "expected"),
        [
            (SHOWN, ()),
            (shown(status="starting"), None),
            (Observation(), ("the service is gone",)),
            (shown(status="stopped"), ("the service is stopped",)),
            (shown(status="unhealthy", message="500"), ("the service is unhealthy: 500",)),
            (shown(serving=False), ("requests for the function's address do not reach it",)),
            (shown(revision="r2"), ("revision r2 runs, and r1 was released",)),
            (shown(url="https://g.example/"), ("it answers at https://g.example/, and not at https://f.example/",)),
            (msgspec.structs.replace(SHOWN, image=None), ("the image is gone, so the service cannot be started anew",)),
            (
                msgspec.structs.replace(SHOWN, image=Image(reference="images/1", digest="sha256:2")),
                ("the image is sha256:2, and sha256:1 was released",),
            ),
        ],
    )
    def test_are_what_the_cloud_shows_otherwise(self, observed: Observation, expected: tuple[str, ...] | None) -> None:
        assert differences(RELEASED, observed) == expected

    def test_are_named_all_together(self) -> None:
        observed = msgspec.structs.replace(shown(status="unhealthy", revision="r2"), image=None)

        assert len(differences(RELEASED, observed) or ()) == 3


class Counting(SimulatedProvider):
    """Knows when it was looked at."""

    asked_at: ClassVar[list[float]] = []

    async def observe(self, order: Order) -> Observation:
        self.asked_at.append(virtual_time.seconds())
        return await super().observe(order)


def play(
    scene: Scene, weather: Weather = FAIR, functions: int = 1, cloud: type[SimulatedProvider] = SimulatedProvider
) -> None:
    """Play it with every function deployed, and a runner at work."""

    async def played() -> None:
        town = Town(weather=weather, cloud=cloud)
        await town.found(concurrent=500)
        await town.settle(functions=functions)
        async with Working(town.runner(deployments_max=500)):
            for tenant_id, function_id in town.functions:
                await town.queue(tenant_id, function_id)
            assert await town.settled(seconds_max=600)
            await scene(town)

    virtual_time.run(played())


async def told(town: Town, deployment_id: UUID) -> list[str]:
    """What was recorded of drift, in order."""
    return [type for type in await town.story(deployment_id) if "drift" in type]


class TestDrift:
    def test_is_recorded_once_shown_on_the_deployment_and_cleared(self) -> None:
        async def scene(town: Town) -> None:
            [(_, deployment_id)] = town.deployments
            await asyncio.sleep(3 * ROUND_SECONDS)
            assert await told(town, deployment_id) == []

            before = town.cloud.made[deployment_id].service.actual
            town.cloud.meddle(deployment_id)
            await asyncio.sleep(3 * ROUND_SECONDS)
            assert (await town.deployment(deployment_id)).drift == ("the service is gone",)

            town.cloud.made[deployment_id].service.change(before, virtual_time.seconds())
            await asyncio.sleep(3 * ROUND_SECONDS)
            assert (await town.deployment(deployment_id)).drift == ()
            assert await told(town, deployment_id) == ["deployment.drift_found", "deployment.drift_cleared"]

        play(scene)

    def test_is_recorded_again_only_when_the_difference_changes(self) -> None:
        async def scene(town: Town) -> None:
            [(_, deployment_id)] = town.deployments
            town.cloud.meddle(deployment_id, revision="r0")
            await asyncio.sleep(3 * ROUND_SECONDS)
            town.cloud.meddle(deployment_id, last_words="It answers its health path with 500.")
            await asyncio.sleep(3 * ROUND_SECONDS)

            assert await told(town, deployment_id) == ["deployment.drift_found"] * 2

        play(scene)

    def test_that_is_over_at_the_second_look_is_none(self) -> None:
        async def scene(town: Town) -> None:
            [(_, deployment_id)] = town.deployments
            for _ in range(200):
                town.cloud.meddle(deployment_id, last_words="It answers its health path with 500.")
                await asyncio.sleep(3)
                town.cloud.meddle(deployment_id, last_words="")
                await asyncio.sleep(17)

            assert await told(town, deployment_id) == []

        play(scene)

    def test_of_a_deployment_that_serves_no_more_is_cleared(self) -> None:
        async def scene(town: Town) -> None:
            [(_, deployment_id)] = town.deployments
            town.cloud.meddle(deployment_id)
            await asyncio.sleep(2 * ROUND_SECONDS)
            later = await town.queue()
            await asyncio.sleep(3 * ROUND_SECONDS)

            assert await told(town, deployment_id) == ["deployment.drift_found", "deployment.drift_cleared"]
            assert await told(town, later) == []

        play(scene)

    def test_is_told_once_by_several_runners_in_bad_weather(self) -> None:
        async def scene(town: Town) -> None:
            [(_, deployment_id)] = town.deployments
            town.cloud.meddle(deployment_id)
            async with Working(town.runner()), Working(town.runner()):
                await asyncio.sleep(10 * ROUND_SECONDS)

            assert await told(town, deployment_id) == ["deployment.drift_found"]

        play(scene, Weather(latency_seconds_max=2.0, throttled=0.3, unreachable=0.1, visible_seconds_max=3.0))

    def test_is_looked_for_in_every_deployment_and_no_faster_than_the_cloud_may_be_asked(self) -> None:
        async def scene(town: Town) -> None:
            assert isinstance(town.cloud, Counting)
            town.cloud.asked_at.clear()
            for _, deployment_id in town.deployments:
                town.cloud.meddle(deployment_id)
            await asyncio.sleep(3 * ROUND_SECONDS)

            assert all([(await town.deployment(id)).drift for _, id in town.deployments])
            asked_at = town.cloud.asked_at
            busiest = max(sum(start <= at < start + 1 for at in asked_at) for start in asked_at)
            assert busiest <= LOOKS_PER_SECOND_MAX + LOOKS_AT_ONCE_MAX

        play(scene, functions=45, cloud=Counting)

    def test_leaves_a_cloud_alone_for_as_long_as_it_asks(self) -> None:
        async def scene(town: Town) -> None:
            town.cloud.weather = Weather(throttled=1.0)
            for _, deployment_id in town.deployments:
                town.cloud.meddle(deployment_id)
            await asyncio.sleep(2 * ROUND_SECONDS)
            assert [await told(town, id) for _, id in town.deployments] == [[]] * 3

            town.cloud.weather = FAIR
            await asyncio.sleep(2 * ROUND_SECONDS)
            assert [await told(town, id) for _, id in town.deployments] == [["deployment.drift_found"]] * 3

        play(scene, functions=3)

    def test_is_not_looked_for_while_it_is_being_deployed(self) -> None:
        async def scene(town: Town) -> None:
            later = await town.queue(behaviour=Behaviour(build_seconds=800))
            await asyncio.sleep(2 * ROUND_SECONDS)

            assert await told(town, later) == []

        play(scene)
