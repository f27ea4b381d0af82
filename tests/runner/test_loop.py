"""Runners at work: what they take, in which order, and how they hand over."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import msgspec
import pytest

from commands.basis import CODEC
from commands.progress import RecordFailed
from domain.deployment import DEPLOYMENT, IN_ACCOUNT
from domain.event import StreamRef
from domain.function import FUNCTION
from eventstore.codec import EventOfNewerCode
from eventstore.leases import Lease, Leases, Wanted
from eventstore.log import Append, NewEvent
from eventstore.meta import Actor, Meta, decode_meta, encode_meta
from providers.simulated.weather import FAIR, Behaviour, Weather
from runner.loop import (
    BEAT_SECONDS_MAX,
    LEASE_SECONDS,
    LETTING_GO_SECONDS_MAX,
    STOP_SECONDS_MAX,
    TAKEOVER_SECONDS,
    Runner,
)
from runner.world import Held
from tests.runner.test_advance import OUTCOMES
from tests.runner.town import Town
from tests.support import a, virtual_time
from tests.support.limits import replay
from tests.support.mortal import Mortal
from tests.support.scenario import decide

NEWER = Actor("runner", "newer")

Scene = Callable[[Town], Awaitable[None]]


def play(scene: Scene, weather: Weather = FAIR) -> None:
    async def played() -> None:
        town = Town(weather=weather)
        await scene(town)
        assert town.cloud.violations == []

    virtual_time.run(played())


class Working:
    """A runner at work inside the block; asked to stop at its end."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._stop = asyncio.Event()

    async def __aenter__(self) -> None:
        self._running = asyncio.create_task(self._runner.run(self._stop))

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await self._running


HELD_SECONDS = 40


async def held_in_queue(town: Town, tenant_id: UUID, *, seconds: float) -> UUID:
    """A deployment that was queued in the instant before its project was locked, and waits since HELD_SECONDS."""
    deployment_id = await town.queue()
    await town.lock(tenant_id, seconds)
    await asyncio.sleep(HELD_SECONDS)
    assert await town.story(deployment_id) == ["deployment.queued", "deployment.waiting"]
    return deployment_id


async def statuses(town: Town) -> list[str]:
    return [(await town.deployment(id)).status for _, id in town.deployments]


async def claimed_order(town: Town) -> list[UUID]:
    """The tenants in the order in which their deployments were claimed."""
    return [event.tenant_id for event in await town.log.read(0, limit=10_000) if event.type == "deployment.claimed"]


async def correlation_ids(town: Town) -> list[UUID | None]:
    """Of the deployments' events, in order."""
    events = await town.log.read(0, limit=10_000)
    return [decode_meta(event.meta).correlation_id for event in events if event.type.startswith("deployment.")]


async def ended_by_older_code(town: Town, held: Held) -> None:
    """A deployment that is counted in its account, ended by code from before there were such counts."""
    stream = DEPLOYMENT.stream(held.tenant_id, held.deployment_id)
    deployment = await town.fold(DEPLOYMENT, stream)
    failed = RecordFailed(
        tenant_id=held.tenant_id,
        at=town.now(),
        deployment_id=held.deployment_id,
        function_id=held.function_id,
        epoch=held.epoch,
        failure=a.FAILURE,
    )
    older = {stream: msgspec.structs.replace(deployment, counted_in="")}
    older[FUNCTION.stream(held.tenant_id, held.function_id)] = await town.function(held.tenant_id, held.function_id)
    decision = decide(failed, older)
    assert [counter.scope for counter in decision.counters] == ["deployments"]
    versions: Counter[StreamRef] = Counter()
    events = []
    for fact in decision.facts:
        [before] = await town.log.load([fact.stream])
        versions[fact.stream] += 1
        version = before[-1].version + versions[fact.stream]
        events.append(CODEC.new_event(fact.stream, version, fact.event, Meta(actor=NEWER)))
    await town.log.append(
        Append(
            tenant_id=held.tenant_id,
            command_id=town.new_id(),
            events=tuple(events),
            claims=decision.claims,
            counters=decision.counters,
        )
    )


class TestARunner:
    def test_takes_up_what_is_queued_without_waiting_for_a_poll(self) -> None:
        async def scene(town: Town) -> None:
            await town.found()
            await town.settle()
            async with Working(town.runner()):
                await asyncio.sleep(60.5)
                deployment_id = await town.queue()
                await asyncio.sleep(0.1)

                assert (await town.deployment(deployment_id)).status == "running"
                assert await town.settled(seconds_max=60)
            assert await statuses(town) == ["succeeded"]

        play(scene)

    def test_records_everything_under_the_correlation_id_of_the_request_it_works_on(self) -> None:
        async def scene(town: Town) -> None:
            await town.found()
            await town.settle()
            async with Working(town.runner()):
                deployment_id = await town.queue()
                assert await town.settled(seconds_max=60)
                deploying = set(await correlation_ids(town))
                await town.undeploy(deployment_id)
                assert await town.settled(seconds_max=60)

            assert len(deploying) == 1
            assert len(set(await correlation_ids(town)) - deploying) == 1

        play(scene)

    def test_drives_many_at_once(self) -> None:
        async def scene(town: Town) -> None:
            await town.found(concurrent=100)
            tenant_id = await town.settle(functions=40)
            for _, function_id in town.functions:
                await town.queue(tenant_id, function_id, Behaviour(build_seconds=60))
            async with Working(town.runner(deployments_max=100)):
                assert await town.settled(seconds_max=90)
            assert set(await statuses(town)) == {"succeeded"}

        play(scene)

    def test_begins_what_waited_for_a_lock_once_it_is_taken_away(self) -> None:
        async def scene(town: Town) -> None:
            await town.found()
            tenant_id = await town.settle()
            async with Working(town.runner()):
                await asyncio.sleep(1)
                stop = await held_in_queue(town, tenant_id, seconds=3600)
                await town.unlock(tenant_id)
                await asyncio.sleep(0.2)

                assert (await town.deployment(stop)).status == "running"
                assert await town.settled(seconds_max=60)

        play(scene)

    def test_begins_what_waited_for_a_lock_when_that_ends_by_itself(self) -> None:
        async def scene(town: Town) -> None:
            await town.found()
            tenant_id = await town.settle()
            async with Working(town.runner()):
                await asyncio.sleep(1)
                waiting = await held_in_queue(town, tenant_id, seconds=100)
                await asyncio.sleep(100 - HELD_SECONDS - 1)
                assert (await town.deployment(waiting)).status == "queued"
                await asyncio.sleep(4)

                assert (await town.deployment(waiting)).is_under_way
                assert (await town.story(waiting)).count("deployment.waiting") == 1
                assert await town.settled(seconds_max=60)

        play(scene)

    def test_begins_no_more_in_one_account_than_the_plan_allows_and_all_of_it_in_the_end(self) -> None:
        async def scene(town: Town) -> None:
            await town.found(concurrent=20, concurrent_deployments_per_account=3)
            tenant_id = await town.settle(functions=12)
            queued = [await town.queue(tenant_id, id, Behaviour(build_seconds=20)) for _, id in town.functions]
            async with Working(town.runner()):
                await asyncio.sleep(5)
                assert sum([(await town.deployment(id)).is_under_way for id in queued]) == 3
                assert await town.settled(seconds_max=300)

            found = await replay(town.log)
            found.check_end()
            assert found.most["account"] == found.most["tenant"] == 3

        play(scene)

    def test_begins_what_an_older_runner_has_left_counted_in_its_account(self) -> None:
        async def scene(town: Town) -> None:
            await town.found(concurrent=5, concurrent_deployments_per_account=1)
            tenant_id = await town.settle(functions=2)
            await ended_by_older_code(town, await town.claim(await town.queue(*town.functions[0])))
            waiting = await town.queue(*town.functions[1])
            assert (await town.log.counted(tenant_id))[IN_ACCOUNT, "local"] == 1, "of nothing that is under way"
            async with Working(town.runner()):
                assert await town.settled(seconds_max=60)

            assert (await town.deployment(waiting)).status == "succeeded"
            assert set((await town.log.counted(tenant_id)).values()) == {0}

        play(scene)

    def test_serves_every_tenant_before_any_tenants_second(self) -> None:
        async def scene(town: Town) -> None:
            await town.found(concurrent=100)
            many = await town.settle(functions=10)
            for _, function_id in town.functions:
                await town.queue(many, function_id)
            one = await town.settle()
            await town.queue(*town.functions[-1])
            async with Working(town.runner(deployments_max=2)):
                assert await town.settled(seconds_max=120)

            assert one in (await claimed_order(town))[:2]

        play(scene)

    def test_leaves_queued_what_the_plan_has_no_room_for_and_looks_again_when_something_ends(self) -> None:
        async def scene(town: Town) -> None:
            await town.found(concurrent=1)
            tenant_id = await town.settle(functions=3)
            for _, function_id in town.functions:
                await town.queue(tenant_id, function_id, Behaviour(build_seconds=30))
            async with Working(town.runner()):
                await asyncio.sleep(10)
                assert sorted(await statuses(town)) == ["queued", "queued", "running"]
                assert await town.settled(seconds_max=120)

            assert set(await statuses(town)) == {"succeeded"}
            refused = [event for event in await town.log.read(0, limit=10_000) if event.type == "command.refused"]
            assert refused == []

        play(scene)

    def test_deploys_one_after_the_other_for_one_function_and_skips_what_was_overtaken(self) -> None:
        async def scene(town: Town) -> None:
            await town.found()
            await town.settle()
            async with Working(town.runner()):
                await town.queue()
                await asyncio.sleep(1)
                await town.queue()
                last = await town.queue()
                assert await town.settled(seconds_max=120)

            assert await statuses(town) == ["succeeded", "canceled", "succeeded"]
            serving = town.cloud.serving(await town.release_order(last))
            assert serving is not None
            assert serving.deployment_id == last

        play(scene)

    def test_cancels_at_once_even_in_a_long_build(self) -> None:
        async def scene(town: Town) -> None:
            await town.found()
            await town.settle()
            async with Working(town.runner()):
                deployment_id = await town.queue(behaviour=Behaviour(build_seconds=800))
                await asyncio.sleep(300)
                await town.cancel(deployment_id)
                await asyncio.sleep(0.5)

                assert await statuses(town) == ["canceled"]

        play(scene)


class TestSeveralRunners:
    def test_never_work_on_the_same_deployment(self) -> None:
        async def scene(town: Town) -> None:
            await town.found(concurrent=100)
            tenant_id = await town.settle(functions=20)
            for _, function_id in town.functions:
                await town.queue(tenant_id, function_id)
            async with Working(town.runner()), Working(town.runner()), Working(town.runner()):
                assert await town.settled(seconds_max=120)

            assert set(await statuses(town)) == {"succeeded"}
            assert len(await claimed_order(town)) == 20

        play(scene, Weather(latency_seconds_max=0.5))

    def test_take_over_from_one_that_was_killed_within_the_lease(self) -> None:
        async def scene(town: Town) -> None:
            await town.found()
            await town.settle()
            deployment_id = await town.queue(behaviour=Behaviour(build_seconds=5))
            process = Mortal()
            process.start(town.runner().run(asyncio.Event()))
            await asyncio.sleep(2)
            process.kill()
            async with Working(town.runner()):
                await asyncio.sleep(LEASE_SECONDS + 2 * TAKEOVER_SECONDS)
                assert len(await claimed_order(town)) == 2
                assert await town.settled(seconds_max=60)

            assert await statuses(town) == ["succeeded"]
            assert town.cloud.made[deployment_id].builds_started == 1

        play(scene)

    def test_let_go_of_what_another_has_taken(self) -> None:
        async def scene(town: Town) -> None:
            await town.found()
            await town.settle()
            deployment_id = await town.queue(behaviour=Behaviour(build_seconds=60))
            async with Working(town.runner()):
                await asyncio.sleep(1)
                [lease] = await town.stores.leases.held([f"deployment/{deployment_id}"])
                await town.stores.leases.release([lease])
                wanted = [Wanted(lease.name, lease.tenant_id)]
                [other] = await town.stores.leases.acquire(wanted, holder=town.new_id(), seconds=30)
                await asyncio.sleep(5)
                before = await town.story(deployment_id)
                await asyncio.sleep(20)

                assert await town.story(deployment_id) == before
                assert other.epoch > lease.epoch

        play(scene)

    def test_take_nothing_more_while_they_can_hardly_keep_what_they_have(self) -> None:
        async def scene(town: Town) -> None:
            await town.found(concurrent=10)
            await town.settle(2)
            slow = SlowToRenew(town.stores.leases)
            town.stores = msgspec.structs.replace(town.stores, leases=slow)
            await town.queue(*town.functions[0], behaviour=Behaviour(build_seconds=120))
            async with Working(town.runner()):
                await asyncio.sleep(5)
                slow.seconds = 1.5 * BEAT_SECONDS_MAX
                await asyncio.sleep(10)
                await town.queue(*town.functions[1])
                await asyncio.sleep(30)
                assert (await statuses(town)) == ["running", "queued"]

                slow.seconds = 0.0
                await asyncio.sleep(10)
                assert "queued" not in await statuses(town)

        play(scene)

    def test_leave_to_newer_code_what_they_do_not_know_and_go_on_with_the_rest(self) -> None:
        """The event of a newer version comes while the deployment is under way, and is there before another is begun."""

        async def scene(town: Town) -> None:
            await town.found(concurrent=10)
            await town.settle(3)
            under_way = await town.queue(*town.functions[0], behaviour=Behaviour(build_seconds=20))
            async with Working(town.runner()):
                await asyncio.sleep(5)
                await of_newer_code(town, under_way)
                before = await story_types(town, under_way)
                waiting = await town.queue(*town.functions[1])
                await of_newer_code(town, waiting)
                rest = await town.queue(*town.functions[2])
                await asyncio.sleep(120)

            assert (await town.deployment(rest)).status == "succeeded"
            assert await story_types(town, under_way) == before
            assert await story_types(town, waiting) == ["deployment.queued", "deployment.inspected"]
            assert await town.stores.leases.held([f"deployment/{id}" for _, id in town.deployments]) == []
            with pytest.raises(EventOfNewerCode):
                await town.cancel(waiting)

        play(scene)


class SlowToRenew:
    """Leases that take `seconds` to be renewed."""

    def __init__(self, leases: Leases) -> None:
        self.seconds = 0.0
        self._leases = leases
        self.acquire, self.release, self.held = leases.acquire, leases.release, leases.held

    async def renew(self, leases: Sequence[Lease], *, seconds: float) -> list[Lease]:
        await asyncio.sleep(self.seconds)
        return await self._leases.renew(leases, seconds=seconds)


class Silent:
    """Leases of a store that falls silent: who asks it anything waits for ever."""

    def __init__(self, leases: Leases) -> None:
        self.speaks = asyncio.Event()
        self.speaks.set()
        self._leases = leases

    async def acquire(self, wanted: Sequence[Wanted], *, holder: UUID, seconds: float) -> list[Lease]:
        await self.speaks.wait()
        return await self._leases.acquire(wanted, holder=holder, seconds=seconds)

    async def renew(self, leases: Sequence[Lease], *, seconds: float) -> list[Lease]:
        await self.speaks.wait()
        return await self._leases.renew(leases, seconds=seconds)

    async def release(self, leases: Sequence[Lease]) -> None:
        await self.speaks.wait()
        await self._leases.release(leases)

    async def held(self, names: Sequence[str]) -> list[Lease]:
        await self.speaks.wait()
        return await self._leases.held(names)


async def story_types(town: Town, deployment_id: UUID) -> list[str]:
    """Of a story that this code does not know to its end."""
    [events] = await town.log.load([DEPLOYMENT.stream(town.tenant_of(deployment_id), deployment_id)])
    return [event.type for event in events]


async def of_newer_code(town: Town, deployment_id: UUID) -> None:
    """Newer code records something of the deployment that this code does not know."""
    stream = DEPLOYMENT.stream(town.tenant_of(deployment_id), deployment_id)
    [events] = await town.log.load([stream])
    version = events[-1].version + 1
    event = NewEvent(stream, version, "deployment.inspected", 1, encode_meta(Meta(actor=NEWER)), b"{}")
    await town.log.append(Append(tenant_id=stream.tenant_id, command_id=town.new_id(), events=(event,)))


class TestStop:
    def test_finishes_the_turn_and_leaves_the_rest_to_another_runner(self) -> None:
        async def scene(town: Town) -> None:
            await town.found()
            await town.settle()
            deployment_id = await town.queue(behaviour=Behaviour(build_seconds=60))
            async with Working(town.runner()):
                await asyncio.sleep(5)
                asked_at = virtual_time.seconds()
            assert virtual_time.seconds() - asked_at < 1
            assert await town.stores.leases.held([f"deployment/{deployment_id}"]) == []

            async with Working(town.runner()):
                await asyncio.sleep(1)
                assert len(await claimed_order(town)) == 2
                assert await town.settled(seconds_max=120)
            assert [type for type in await town.story(deployment_id) if type in OUTCOMES] == ["deployment.succeeded"]

        play(scene)

    def test_breaks_off_what_takes_too_long(self) -> None:
        async def scene(town: Town) -> None:
            await town.found()
            await town.settle()
            await town.queue()
            async with Working(town.runner()):
                await asyncio.sleep(2)
                town.cloud.weather = Weather(latency_seconds_max=10_000)
                await asyncio.sleep(3)
                asked_at = virtual_time.seconds()
            assert virtual_time.seconds() - asked_at < STOP_SECONDS_MAX + 1

            town.cloud.weather = FAIR
            async with Working(town.runner()):
                assert await town.settled(seconds_max=120)
            assert await statuses(town) == ["succeeded"]

        play(scene)

    def test_waits_no_longer_for_a_store_that_has_fallen_silent(self) -> None:
        """What a runner looks for, holds and gives back is asked of a store that never answers: the next runner has all of it."""

        async def scene(town: Town) -> None:
            await town.found(concurrent=5)
            await town.settle(2)
            leases = town.stores.leases
            silent = Silent(leases)
            town.stores = msgspec.structs.replace(town.stores, leases=silent)
            await town.queue(*town.functions[0], behaviour=Behaviour(build_seconds=60))
            async with Working(town.runner()):
                await asyncio.sleep(5)
                silent.speaks.clear()
                await town.queue(*town.functions[1])
                await asyncio.sleep(1)
                asked_at = virtual_time.seconds()
            assert virtual_time.seconds() - asked_at <= STOP_SECONDS_MAX + LETTING_GO_SECONDS_MAX + 0.1

            town.stores = msgspec.structs.replace(town.stores, leases=leases)
            async with Working(town.runner()):
                assert await town.settled(seconds_max=200)
            assert await statuses(town) == ["succeeded", "succeeded"]
            silent.speaks.set()  # What the first one has left behind ends, as with its process.
            await asyncio.sleep(1)

        play(scene)
