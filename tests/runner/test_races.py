"""A request to cancel against the last steps of a deployment, a thousand times: one outcome each, and the queue goes on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from statistics import median
from uuid import UUID

import pytest

from domain.deployment import CancelTooLate, DeploymentIsOver
from providers.simulated.weather import Behaviour, Weather
from tests.runner.simulation import OUTCOMES, check
from tests.runner.town import Town
from tests.runner.town_on_postgres import town_on_postgres
from tests.support import virtual_time

TOWNS = 10
# Of them, those that every check plays.
TOWNS_EACH_TIME = 2
RACES_PER_TOWN = 100
# Build, start and the calls between them take about so long here: a request to cancel falls anywhere up to the end.
SECONDS = 9.0
SLOW = Weather(latency_seconds_max=0.2)
BEHAVIOUR = Behaviour(build_seconds=1.0, healthy_after_seconds=0.5)
# In real time.
QUICK = Weather(latency_seconds_max=0.02)
BRIEF = Behaviour(build_seconds=0.1, healthy_after_seconds=0.05)
SETTLED_SECONDS_MAX = 600.0
# Of what an undisturbed one takes: those that are canceled make room, so that the others are done sooner.
UP_TO = 1.4
# How many rounds more there may be than are asked for.
ROUNDS_MORE_MAX = 10

Place = tuple[UUID, UUID]


class TestCancelAgainstSuccess:
    @pytest.mark.parametrize(
        "seed",
        [*range(TOWNS_EACH_TIME), *(pytest.param(n, marks=pytest.mark.proof) for n in range(TOWNS_EACH_TIME, TOWNS))],
    )
    def test_ends_each_deployment_once_and_the_one_after_it_is_deployed(self, seed: int) -> None:
        won = virtual_time.run(_races(seed))

        assert sum(won.values()) == RACES_PER_TOWN
        assert min(won["deployment.succeeded"], won["deployment.canceled"]) > RACES_PER_TOWN / 10, "they did race"


class TestCancelAgainstSuccessOnPostgres:
    """*Method:* as above in real time, with two runners on one database; how long an undisturbed deployment takes there
    and then is measured first, so that the requests fall anywhere up to its end and some after it."""

    async def test_ends_each_deployment_once_and_the_one_after_it_is_deployed(
        self, database_url: str, tmp_path: Path
    ) -> None:
        won = await _races_on_postgres(database_url, tmp_path, rounds=1, races=30, share=0.01)

        assert sum(won.values()) % 30 == 0

    @pytest.mark.proof
    @pytest.mark.timeout(900)
    async def test_ends_each_of_a_thousand_once(self, database_url: str, tmp_path: Path) -> None:
        won = await _races_on_postgres(database_url, tmp_path, rounds=TOWNS, races=RACES_PER_TOWN, share=0.1)

        assert sum(won.values()) >= TOWNS * RACES_PER_TOWN


async def _races(seed: int) -> Counter[str]:
    """How many ended how. Raises Violated."""
    town, random = Town(seed, weather=SLOW), Random(seed)
    await town.found(concurrent=RACES_PER_TOWN, queued_deployments=RACES_PER_TOWN)
    async with _runners(town, RACES_PER_TOWN):
        await town.settle(RACES_PER_TOWN)
        won = await _race(town, town.functions, random, SECONDS)
    await check(town)
    return won


async def _races_on_postgres(url: str, data_dir: Path, *, rounds: int, races: int, share: float) -> Counter[str]:
    """The same, all rounds on one log; more of them until each side has won more than that share of the races, as a machine
    that is busier or idler than when its pace was measured lets one side win too often."""
    random, won, raced = Random(races), Counter[str](), False
    async with town_on_postgres(url, data_dir, weather=QUICK) as town:
        await town.found(concurrent=races, queued_deployments=races)
        async with _runners(town, races):
            for number in range(1, rounds + ROUNDS_MORE_MAX + 1):
                await town.settle(races)
                functions = town.functions[-races:]
                seconds = await _undisturbed(town, functions)
                won += await _race(town, functions, random, UP_TO * seconds, behaviour=BRIEF, look_seconds=0.1)
                raced = min(won["deployment.succeeded"], won["deployment.canceled"]) > share * won.total()
                if number >= rounds and raced:
                    break
        await check(town)
        assert raced, won
    return won


async def _undisturbed(town: Town, functions: Sequence[Place]) -> float:
    """How long each takes, from when it is asked for, when all are deployed at once: the median."""
    ids = [await town.queue(*function, behaviour=BRIEF) for function in functions]
    assert await town.settled(seconds_max=SETTLED_SECONDS_MAX, look_seconds=0.1, of=ids)
    deployments = [await town.deployment(id) for id in ids]
    took = [one.finished_at - one.queued_at for one in deployments if one.finished_at and one.queued_at]
    return median(one.total_seconds() for one in took)


@asynccontextmanager
async def _runners(town: Town, deployments_max: int) -> AsyncIterator[None]:
    stop = asyncio.Event()
    runners = [asyncio.create_task(town.runner(deployments_max=deployments_max).run(stop)) for _ in range(2)]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*runners)


async def _race(
    town: Town,
    functions: Sequence[Place],
    random: Random,
    seconds: float,
    *,
    behaviour: Behaviour = BEHAVIOUR,
    look_seconds: float = 5.0,
) -> Counter[str]:
    """Deploy each function, ask to cancel within so many seconds, and deploy each again: how the first ones ended."""
    raced: list[UUID] = []
    async with asyncio.TaskGroup() as requests:
        for function in functions:
            raced.append(await town.queue(*function, behaviour=behaviour))
            requests.create_task(_cancel(town, raced[-1], random.uniform(0, seconds)))
    assert await town.settled(seconds_max=SETTLED_SECONDS_MAX, look_seconds=look_seconds, of=raced)
    after = [await town.queue(*function, behaviour=behaviour) for function in functions]
    assert await town.settled(seconds_max=SETTLED_SECONDS_MAX, look_seconds=look_seconds, of=after)
    assert {(await town.deployment(id)).status for id in after} == {"succeeded"}
    return Counter([await _outcome(town, id) for id in raced])


async def _cancel(town: Town, deployment_id: UUID, seconds: float) -> None:
    await asyncio.sleep(seconds)
    with suppress(DeploymentIsOver, CancelTooLate):
        await town.cancel(deployment_id)


async def _outcome(town: Town, deployment_id: UUID) -> str:
    [outcome] = [type for type in await town.story(deployment_id) if type in OUTCOMES]
    return outcome
