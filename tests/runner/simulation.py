"""A whole service through a storm, one seed: the API, runners and the projections' worker die and come back while people
deploy, cancel, go back, undeploy and look, by HTTP.

`python -m tests.runner.simulation SEED` plays one seed and tells every event of it.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import Any, Protocol, cast
from uuid import UUID

import msgspec
from litestar import Litestar
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from commands.basis import CODEC
from domain.clouds import target_key
from domain.event import Event
from domain.refusal import Refusal
from eventstore.log import Log
from projections import engine
from projections.memory_views import MemoryViews, MemoryViewsReader
from projections.monitor import Monitor
from projections.views import Views
from providers.provider import Order
from providers.simulated.weather import STORMY, Behaviour
from runner.composition import stores_in_memory
from runner.plan import next_step
from runner.world import Plan
from tests.runner.bounds import Bounds
from tests.runner.callers import Callers
from tests.runner.http_api import PROCESSES, Api, routes
from tests.runner.promises import check_promises
from tests.runner.remote import RemoteLog, RemoteViews
from tests.runner.town import Town
from tests.support import virtual_time
from tests.support.limits import Violated, replay
from tests.support.mortal import Mortal

RUNNERS = 3
TENANTS = 2
FUNCTIONS_PER_TENANT = 2
REQUESTS = 15
PEOPLE = 3
# On average between two requests.
PAUSE_SECONDS = 4.0
CONCURRENT = 2
STORM_SECONDS = 80.0
# How often each deployment is held to its bound.
BOUNDS_SECONDS = 30.0
CAUGHT_UP_SECONDS_MAX = 60.0
# What a runner logs when something went wrong that was not the cloud's weather.
UNFORESEEN = (
    "turn_failed",
    "provider_failed",
    "runner_hindered",
    "request_failed",
    "projections_interrupted",
    "projection_parked",
)
# Every function has it, and the cloud says it wherever it says anything.
SECRET = "sentinel-of-every-function"
OUTCOMES = ("deployment.succeeded", "deployment.failed", "deployment.canceled")


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What a town is put together from; with another part in its place a defect is put in by hand."""

    plan: Plan = next_step
    log: type[RemoteLog] = RemoteLog
    views: type[RemoteViews] = RemoteViews
    reader: type[MemoryViewsReader] = MemoryViewsReader


SOUND = Parts()


def play(seed: int, parts: Parts = SOUND) -> Town:
    """Play the seed to its end. Raises Violated, naming the seed and how to play it again."""
    gc.disable()  # A town is small, and looking for garbage takes a twentieth of its time.
    try:
        with capture_logs() as lines, routes(PROCESSES) as apps:
            town = virtual_time.run(_play(seed, parts, apps, lines))
    except Violated as violated:
        raise Violated(f"{violated}\nplay it again: python -m tests.runner.simulation {seed}") from None
    finally:
        gc.enable()
    return town


async def _play(seed: int, parts: Parts, apps: Sequence[Litestar], lines: Sequence[Mapping[str, Any]]) -> Town:
    random = Random(seed)
    views = MemoryViews()
    stores = msgspec.structs.replace(stores_in_memory(virtual_time.now), reader=MemoryViewsReader(views))
    town = Town(seed, weather=STORMY, plan=parts.plan, stores=stores)
    town.cloud.behaviour = _Fates(seed)
    await town.found(concurrent=CONCURRENT, concurrent_deployments_per_account=random.choice((None, 1)))
    for _ in range(TENANTS):
        await town.settle(FUNCTIONS_PER_TENANT)
    for tenant_id, function_id in town.functions:
        await town.set_secret(tenant_id, function_id, SECRET)
    api = Api(town, random, log=parts.log, reader=parts.reader(views))
    callers = Callers(town, api)
    await callers.get_keys()
    lives = [
        asyncio.create_task(body)
        for body in (
            *(_runners(town, random) for _ in range(RUNNERS)),
            *(_workers(town, parts.views(views, random), random) for _ in range(random.choice((1, 1, 2)))),
            *(api.run(app, Random(random.random()), until=STORM_SECONDS) for app in apps),
        )
    ]
    try:
        await _caught_up(town, views)  # Before that nobody is known by their key.
        await asyncio.gather(*(_person(callers, Random(random.random())) for _ in range(PEOPLE)))
        await api.finished()
        await callers.discover()
        await _settled(town)
        await callers.look(random, stormy=False)
        await _caught_up(town, views)
    finally:
        for life in lives:
            life.cancel()
        await asyncio.gather(*lives, return_exceptions=True)
    await check(town)
    await check_promises(callers, views)
    check_logs(lines)  # Not what is said while the dead are buried.
    return town


async def _settled(town: Town) -> None:
    """Each deployment ends, within its own bound. Raises Violated."""
    bounds = Bounds(town.log, calm_from=STORM_SECONDS)
    while not await town.settled(seconds_max=BOUNDS_SECONDS):
        await bounds.check()
    await bounds.check()


async def _caught_up(town: Town, views: MemoryViews) -> None:
    """The read models are at the end of the log, whoever died meanwhile. Raises Violated."""
    if not await MemoryViewsReader(views).wait_for(await town.log.head(), seconds_max=CAUGHT_UP_SECONDS_MAX):
        raise Violated(f"the log ends at {await town.log.head()}, and the read models at {await views.positions()}")


def _runners(town: Town, random: Random) -> Coroutine[Any, Any, None]:
    return live(
        lambda dice: town.runner(deployments_max=dice.choice((1, 3, 10))),
        Random(random.random()),
        until=STORM_SECONDS,
        lives_seconds=(5, 40),
        steps=(20, 2_000),
    )


def _workers(town: Town, views: RemoteViews, random: Random) -> Coroutine[Any, Any, None]:
    return live(
        lambda dice: _Projections(town, views, dice),
        Random(random.random()),
        until=STORM_SECONDS,
        lives_seconds=(5, 40),
        steps=(5, 800),
    )


class _Process(Protocol):
    async def run(self, stop: asyncio.Event) -> None: ...


class _Projections:
    """The engine of the projections, as a process of its own."""

    def __init__(self, town: Town, views: RemoteViews, random: Random) -> None:
        self._parts = engine.Parts(
            views=cast("Views", views),
            log=cast("Log", RemoteLog(town.log, random)),
            leases=town.stores.leases,
            codec=CODEC,
            monitor=Monitor(CollectorRegistry()),
            queries=(),
        )

    async def run(self, stop: asyncio.Event) -> None:
        await engine.run(self._parts, stop)


class _Fates(defaultdict[UUID, Behaviour]):
    """What becomes of each deployment, known before anybody asked for it."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def __missing__(self, deployment_id: UUID) -> Behaviour:
        self[deployment_id] = fate = _behaviour(Random(f"{self._seed} {deployment_id}"))
        return fate


async def live(
    make: Callable[[Random], _Process],
    random: Random,
    *,
    until: float,
    lives_seconds: tuple[float, float],
    steps: tuple[int, int],
) -> None:
    """One process after another: the first are killed somewhere or asked to stop; once the storm is over one stays."""
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


async def _person(callers: Callers, random: Random) -> None:
    for _ in range(REQUESTS // PEOPLE):
        await asyncio.sleep(random.expovariate(1 / (PAUSE_SECONDS * PEOPLE)))
        await _ask(callers, random)
        await callers.look(random)


async def _ask(callers: Callers, random: Random) -> None:
    """What they ask need not be possible."""
    chance, town = random.random(), callers.town
    if chance < 0.55:
        await callers.ask(random, "deploy")
    elif chance < 0.75:
        await callers.ask(random, "cancel")
    elif chance < 0.88:
        await callers.ask(random, random.choice(("retry", "redeploy", "rollback", "rollback")))
    elif chance < 0.95:
        await callers.ask(random, "undeploy")
    elif chance < 0.97:
        await callers.ask(random, "validate")
    else:
        with suppress(Refusal):
            await (
                town.lock(random.choice(town.tenants), random.uniform(5, 90))
                if chance < 0.985
                else town.unlock(random.choice(town.tenants))
            )


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
