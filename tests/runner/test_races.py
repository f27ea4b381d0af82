"""A request to cancel against the last steps of a deployment, a thousand times: one outcome each, and the queue goes on."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from random import Random
from uuid import UUID

import pytest

from domain.deployment import DeploymentIsOver
from providers.simulated.weather import Behaviour, Weather
from tests.runner.simulation import OUTCOMES, check
from tests.runner.town import Town
from tests.support import virtual_time

TOWNS = 10
RACES_PER_TOWN = 100
# Build, start and the calls between them take about so long here: a request to cancel falls anywhere up to the end.
SECONDS = 9.0
SLOW = Weather(latency_seconds_max=0.2)
BEHAVIOUR = Behaviour(build_seconds=1.0, healthy_after_seconds=0.5)


class TestCancelAgainstSuccess:
    @pytest.mark.parametrize("seed", range(TOWNS))
    def test_ends_each_deployment_once_and_the_one_after_it_is_deployed(self, seed: int) -> None:
        won = virtual_time.run(_races(seed))

        assert sum(won.values()) == RACES_PER_TOWN
        assert min(won["deployment.succeeded"], won["deployment.canceled"]) > RACES_PER_TOWN / 10, "they did race"


async def _races(seed: int) -> Counter[str]:
    """How many ended how. Raises Violated."""
    town, random = Town(seed, weather=SLOW), Random(seed)
    await town.found(concurrent=RACES_PER_TOWN, queued_deployments=RACES_PER_TOWN)
    await town.settle(RACES_PER_TOWN)
    stop = asyncio.Event()
    runners = [asyncio.create_task(town.runner(deployments_max=RACES_PER_TOWN).run(stop)) for _ in range(2)]
    raced = [await town.queue(*function, behaviour=BEHAVIOUR) for function in town.functions]
    await asyncio.gather(*(_cancel(town, id, random.uniform(0, SECONDS)) for id in raced))
    assert await town.settled(seconds_max=600)
    after = [await town.queue(*function, behaviour=BEHAVIOUR) for function in town.functions]
    assert await town.settled(seconds_max=600)
    stop.set()
    await asyncio.gather(*runners)
    await check(town, concurrent=RACES_PER_TOWN)
    assert {(await town.deployment(id)).status for id in after} == {"succeeded"}
    return Counter([await _outcome(town, id) for id in raced])


async def _cancel(town: Town, deployment_id: UUID, seconds: float) -> None:
    await asyncio.sleep(seconds)
    with suppress(DeploymentIsOver):
        await town.cancel(deployment_id)


async def _outcome(town: Town, deployment_id: UUID) -> str:
    [outcome] = [type for type in await town.story(deployment_id) if type in OUTCOMES]
    return outcome
