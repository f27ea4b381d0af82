"""A town through a storm: runners that die and come back, people who deploy, cancel, go back and undeploy, one seed.

`python -m tests.runner.simulation SEED` plays one seed and tells every event of it.
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from random import Random
from uuid import UUID

from structlog.testing import capture_logs

from commands.basis import CODEC
from commands.deployment import RedeployDeployment, RetryDeployment, RollbackDeployment
from domain.clouds import target_key
from domain.event import Event
from domain.refusal import Refusal
from providers.provider import Order
from providers.simulated.weather import STORMY, Behaviour
from runner.loop import Runner
from runner.plan import next_step
from runner.world import Plan
from tests.runner.town import Town
from tests.support import virtual_time
from tests.support.limits import Violated, replay
from tests.support.mortal import Mortal

RUNNERS = 3
TENANTS = 2
FUNCTIONS_PER_TENANT = 2
REQUESTS = 14
CONCURRENT = 2
STORM_SECONDS = 120.0
# Every step has its limit, and a deployment waits for those before it: beyond this it is stuck.
SETTLED_SECONDS_MAX = 4 * 3600.0
# What a runner logs when something went wrong that was not the cloud's weather.
UNFORESEEN = ("turn_failed", "provider_failed", "runner_hindered")
# Every function has it, and the cloud says it wherever it says anything.
SECRET = "sentinel-of-every-function"
OUTCOMES = ("deployment.succeeded", "deployment.failed", "deployment.canceled")


def play(seed: int, *, plan: Plan = next_step) -> Town:
    """Play the seed to its end. Raises Violated, naming the seed and how to play it again."""
    try:
        with capture_logs() as lines:
            town = virtual_time.run(_play(seed, plan))
        check_logs(lines)
    except Violated as violated:
        raise Violated(f"{violated}\nplay it again: python -m tests.runner.simulation {seed}") from None
    return town


async def _play(seed: int, plan: Plan) -> Town:
    random = Random(seed)
    town = Town(seed, weather=STORMY, plan=plan)
    await town.found(concurrent=CONCURRENT, concurrent_deployments_per_account=random.choice((None, 1)))
    for _ in range(TENANTS):
        await town.settle(FUNCTIONS_PER_TENANT)
    for tenant_id, function_id in town.functions:
        await town.set_secret(tenant_id, function_id, SECRET)
    lives = [
        asyncio.create_task(
            live(
                lambda dice: town.runner(deployments_max=dice.choice((1, 3, 10))),
                Random(random.random()),
                until=STORM_SECONDS,
                lives_seconds=(5, 40),
                steps=(20, 2_000),
            )
        )
        for _ in range(RUNNERS)
    ]
    await _people(town, random)
    if not await town.settled(seconds_max=SETTLED_SECONDS_MAX):
        raise Violated(f"never ended: {[str(id) for id in await town.unsettled()]}")
    for life in lives:
        life.cancel()
    await asyncio.gather(*lives, return_exceptions=True)
    await check(town)
    return town


async def live(
    make: Callable[[Random], Runner],
    random: Random,
    *,
    until: float,
    lives_seconds: tuple[float, float],
    steps: tuple[int, int],
) -> None:
    """One runner after another: the first are killed somewhere or asked to stop; once the storm is over one stays."""
    while True:
        storm = virtual_time.seconds() < until
        process = Mortal(dies_at_step=random.randrange(*steps) if storm and random.random() < 0.8 else None)
        stop = asyncio.Event()
        running = process.start(make(random).run(stop))
        death = asyncio.create_task(process.died.wait())
        try:
            await asyncio.wait([running, death], timeout=random.uniform(*lives_seconds) if storm else None)
            stop.set()
            if not process.dead:
                await asyncio.wait([running, death], timeout=30, return_when=asyncio.FIRST_COMPLETED)
        finally:
            process.kill()
            death.cancel()
        await asyncio.sleep(random.uniform(0, 5))


async def _people(town: Town, random: Random) -> None:
    for _ in range(REQUESTS):
        await asyncio.sleep(random.expovariate(1 / 6))
        with suppress(Refusal):  # What they ask need not be possible.
            await _ask(town, random)


async def _ask(town: Town, random: Random) -> None:
    chance = random.random()
    if chance < 0.55 or not town.deployments:
        await town.queue(*random.choice(town.functions), behaviour=_behaviour(random))
    elif chance < 0.75:
        await town.cancel(random.choice(town.deployments)[1])
    elif chance < 0.88:
        verb = random.choice((RetryDeployment, RedeployDeployment, RollbackDeployment, RollbackDeployment))
        await town.again(verb, random.choice(town.deployments)[1], _behaviour(random))
    elif chance < 0.96:
        await town.undeploy(random.choice(town.deployments)[1])
    elif chance < 0.985:
        await town.lock(random.choice(town.tenants), random.uniform(5, 90))
    else:
        await town.unlock(random.choice(town.tenants))


def _behaviour(random: Random) -> Behaviour:
    return Behaviour(
        build_seconds=random.uniform(0.5, 20),
        build_fails=random.random() < 0.15,
        healthy_after_seconds=random.uniform(0.1, 8),
        comes_up_unhealthy=random.random() < 0.15,
        refused=random.choice(("push", "start_build", "apply", "promote", "withdraw")) if random.random() < 0.1 else "",
        sticks=random.choice((0, 0, 0, 2, 20)),
        says=f" {SECRET}",
    )


async def check(town: Town) -> None:
    """What must hold of the log and the cloud once all is quiet. Raises Violated."""
    (await replay(town.log)).check_end()
    await check_secrecy(town)
    if town.cloud.violations:
        raise Violated("; ".join(town.cloud.violations))
    for _, deployment_id in town.deployments:
        await _check_deployment(town, deployment_id)
    orders: defaultdict[UUID, list[Order]] = defaultdict(list)
    for _, deployment_id in town.deployments:
        order = await town.release_order(deployment_id)
        orders[order.release.function_id].append(order)
    for tenant_id, function_id in town.functions:
        await _check_function(town, tenant_id, function_id, orders[function_id])


async def check_secrecy(town: Town) -> None:
    """What the cloud said everywhere stands nowhere. Raises Violated."""
    for stored in await town.log.read(0, limit=100_000):
        if SECRET.encode() in stored.data + stored.meta:
            raise Violated(f"a secret stands in {stored.type} of {stored.stream_id}")
    for tenant_id, deployment_id in town.deployments:
        if SECRET in (await town.build_logs.read(tenant_id, deployment_id)).text:
            raise Violated(f"a secret stands in the build log of {deployment_id}")


async def _check_deployment(town: Town, deployment_id: UUID) -> None:
    story = await town.story(deployment_id)
    if story.count("deployment.build_started") > 1:
        raise Violated(f"{deployment_id} recorded {story.count('deployment.build_started')} builds")
    deployment = await town.deployment(deployment_id)
    if "deployment.cancel_requested" in story and deployment.outcome != "canceled":
        raise Violated(f"{deployment_id} was accepted to be canceled, and is {deployment.outcome}")
    if deployment.is_prebuilt and town.cloud.made[deployment_id].builds_started:
        raise Violated(f"{deployment_id} went back, and was built")
    remains = town.cloud.made[deployment_id].remains(virtual_time.seconds())
    if (
        deployment.status in ("failed", "canceled", "undeployed", "undeploy_failed")
        and not deployment.remaining
        and remains
    ):
        raise Violated(f"{deployment_id} is {deployment.status} and left {remains} behind, unnamed")


async def _check_function(town: Town, tenant_id: UUID, function_id: UUID, mine: list[Order]) -> None:
    """The active deployment is the one that serves; nobody serves where none is active."""
    if not mine:
        return
    active = (await town.function(tenant_id, function_id)).active.get(target_key(mine[0].release.target))
    serving = town.cloud.serving(mine[0])
    if serving is not None and (active is None or active.deployment_id != serving.deployment_id):
        raise Violated(f"{serving.deployment_id} serves, and the log says {active}")
    if serving is None and active is not None:
        status = (await town.deployment(active.deployment_id)).status
        if status != "undeploy_failed":
            raise Violated(f"nobody serves, and the log says {active}, which is {status}")


def check_logs(lines: Sequence[Mapping[str, object]]) -> None:
    """Nothing went wrong that was not the cloud's weather. Raises Violated."""
    for line in lines:
        if line["event"] in UNFORESEEN:
            raise Violated(f"what nobody foresaw: {line}")
        if SECRET in repr(line):
            raise Violated(f"a secret stands in our own log: {line['event']}")


async def tell(town: Town) -> list[tuple[float, UUID, Event]]:
    """Every event in order: seconds, stream, event."""
    return [
        ((stored.recorded_at - virtual_time.BEGINNING).total_seconds(), stored.stream_id, CODEC.decode(stored))
        for stored in await town.log.read(0, limit=100_000)
    ]


def main() -> int:
    town = play(int(sys.argv[1]))
    for seconds, stream_id, event in virtual_time.run(tell(town)):
        sys.stdout.write(f"{seconds:10.3f}  {stream_id}  {type(event).__struct_config__.tag}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
