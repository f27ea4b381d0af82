"""Schedules kept by runners: each tick once, in time or written down as missed, whatever happens to a runner."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from domain.release import Trigger
from eventstore.ticks import Tick
from providers.simulated.weather import FAIR, STORMY, Behaviour, Weather
from runner import schedules
from runner.loop import STOP_SECONDS_MAX
from runner.schedules import LATE_SECONDS_MAX
from tests.runner.test_loop import Working
from tests.runner.town import Town
from tests.support import virtual_time
from tests.support.mortal import Mortal

EVERY_MINUTE = Trigger(type="schedule", settings={"cron": "* * * * *", "timeZone": "Europe/Madrid"})
HOUR = 3600.0

Scene = Callable[[Town], Awaitable[None]]


def play(scene: Scene, weather: Weather = FAIR, trigger: Trigger = EVERY_MINUTE) -> None:
    async def played() -> None:
        town = Town(weather=weather)
        await town.found()
        await town.settle(trigger=trigger)
        await scene(town)

    virtual_time.run(played())


async def deploy(town: Town, **behaviour: Any) -> None:
    """Deploy the function, by a runner that stops again."""
    async with Working(town.runner()):
        await town.queue(behaviour=Behaviour(**behaviour))
        assert await town.settled(seconds_max=60)


async def ticks(town: Town) -> list[Tick]:
    """All there are, the oldest first."""
    tenant_id, function_id = town.functions[0]
    return (await town.stores.ticks.read(tenant_id, function_id, limit=10_000))[::-1]


def called(town: Town) -> list[str]:
    """The ids of the ticks the function was called with."""
    return [dict(call.headers)["ce-id"] for calls in town.cloud.calls.values() for call in calls]


class TestATick:
    def test_arrives_as_a_cloud_event_when_it_is_due(self) -> None:
        async def scene(town: Town) -> None:
            async with Working(town.runner()):
                await town.queue()
                await asyncio.sleep(3 * 60 + 1)

            tenant_id, function_id = town.functions[0]
            [calls] = town.cloud.calls.values()
            headers = dict(calls[0].headers)
            assert {name: value for name, value in headers.items() if name != "user-agent"} == {
                "ce-specversion": "1.0",
                "ce-id": "2026-03-01T12:01:00Z",
                "ce-source": f"/projects/{(await town.function(tenant_id, function_id)).project_id}/functions/{function_id}",
                "ce-type": "dcf.schedule.due",
                "ce-time": "2026-03-01T12:01:00Z",
                "content-type": "application/json",
            }
            assert b'"dueAt":"2026-03-01T12:01:00Z"' in calls[0].body
            found = await ticks(town)
            assert [tick.status for tick in found] == ["succeeded"] * 3
            assert all(tick.taken_at is not None for tick in found)
            assert all((tick.taken_at or tick.due_at) - tick.due_at < timedelta(seconds=1) for tick in found)

        play(scene)

    @pytest.mark.parametrize(
        ("behaviour", "status", "http_status"),
        [({"answers_with": 500}, "failed", 500), ({"answers_after_seconds": 61.0}, "failed", None)],
    )
    def test_tells_what_came_of_it(self, behaviour: dict[str, Any], status: str, http_status: int | None) -> None:
        async def scene(town: Town) -> None:
            await deploy(town, **behaviour)
            async with Working(town.runner()):
                await asyncio.sleep(2 * 60 + 5)
            first = (await ticks(town))[0]
            assert (first.status, first.http_status) == (status, http_status)
            assert first.ended_at is not None
            assert len(called(town)) == len(set(called(town)))

        play(scene)

    def test_is_tried_again_only_while_the_function_certainly_was_not_reached(self) -> None:
        async def scene(town: Town) -> None:
            await deploy(town)
            town.cloud.weather = Weather(throttled=0.7, answer_lost=0.3)
            async with Working(town.runner()):
                await asyncio.sleep(HOUR)

            found = await ticks(town)
            assert len(called(town)) == len(set(called(town)))
            assert {tick.status for tick in found} == {"succeeded", "failed"}
            assert len(found) >= 59

        play(scene)

    def test_that_never_reaches_the_function_is_missed_in_the_end(self) -> None:
        async def scene(town: Town) -> None:
            await deploy(town)
            town.cloud.weather = Weather(throttled=1.0)
            async with Working(town.runner()):
                await asyncio.sleep(2 * LATE_SECONDS_MAX)
            assert (await ticks(town))[0].status == "missed"
            assert called(town) == []

        play(scene)

    def test_is_for_nobody_once_the_function_is_undeployed(self) -> None:
        async def scene(town: Town) -> None:
            async with Working(town.runner()):
                deployment_id = await town.queue()
                await asyncio.sleep(90)
                await town.undeploy(deployment_id)
                assert await town.settled(seconds_max=60)
                before = await ticks(town)
                await asyncio.sleep(HOUR)
                assert await ticks(town) == before

        play(scene)

    def test_of_a_release_that_replaced_another_goes_on_from_there(self) -> None:
        async def scene(town: Town) -> None:
            async with Working(town.runner()):
                await town.queue()
                await asyncio.sleep(5 * 60)
                second = await town.queue()
                await asyncio.sleep(5 * 60 + 1)

            found = await ticks(town)
            assert [tick.due_at - found[0].due_at for tick in found] == [timedelta(minutes=n) for n in range(10)]
            assert found[-1].deployment_id == second

        play(scene)


class TestAnOutage:
    def test_shorter_than_the_limit_leads_to_the_newest_tick_late_and_the_others_missed(self) -> None:
        async def scene(town: Town) -> None:
            await deploy(town)
            await asyncio.sleep(3 * 60)
            async with Working(town.runner()):
                await asyncio.sleep(10)
            assert [tick.status for tick in await ticks(town)] == ["missed", "missed", "succeeded"]

        play(scene)

    def test_longer_than_the_limit_leads_to_no_late_tick(self) -> None:
        async def scene(town: Town) -> None:
            await deploy(town)
            await asyncio.sleep(3 * HOUR)
            async with Working(town.runner()):
                await asyncio.sleep(10)
            assert {tick.status for tick in await ticks(town)} == {"missed"}
            assert called(town) == []

        play(scene, trigger=Trigger(type="schedule", settings={"cron": "30 * * * *"}))

    def test_of_days_is_written_down_within_bounds(self) -> None:
        async def scene(town: Town) -> None:
            await deploy(town)
            await asyncio.sleep(3 * 24 * HOUR)
            async with Working(town.runner()):
                await asyncio.sleep(10)
            assert len(await ticks(town)) == schedules.MISSED_MAX + 1

        play(scene)


class TestSeveralRunners:
    def test_fire_each_tick_once_while_some_of_them_are_killed(self) -> None:
        """Goal: never twice, and none forgotten. Method: runners die at any await, in bad weather, for hours."""

        async def scene(town: Town) -> None:
            await deploy(town, answers_after_seconds=15.0)
            town.cloud.weather = STORMY
            for life in range(15):
                process = Mortal(dies_at_step=town.random.randrange(200, 4_000) if life % 3 else None)
                process.start(town.runner().run(asyncio.Event()))
                async with Working(town.runner()):
                    await asyncio.sleep(town.random.uniform(60, 400))
                process.kill()
            await asyncio.sleep(2 * LATE_SECONDS_MAX)
            async with Working(town.runner()):
                await asyncio.sleep(60)

            found = await ticks(town)
            assert len(called(town)) == len(set(called(town)))
            assert len(found) == len({tick.due_at for tick in found})
            ended = [tick for tick in found if tick.due_at < virtual_time.now() - timedelta(seconds=90)]
            assert {tick.status for tick in ended} >= {"succeeded", "unknown"}
            assert "firing" not in {tick.status for tick in ended}
            spans = {later.due_at - earlier.due_at for earlier, later in pairwise(found)}
            assert spans == {timedelta(minutes=1)}

        play(scene)


class TestStop:
    def test_leaves_a_function_that_was_not_called_to_another_runner(self) -> None:
        async def scene(town: Town) -> None:
            await deploy(town)
            town.cloud.weather = Weather(throttled=1.0)
            async with Working(town.runner()):
                await asyncio.sleep(70 - virtual_time.seconds())
                assert [tick.status for tick in await ticks(town)] == ["firing"]
                asked_at = virtual_time.seconds()
            assert virtual_time.seconds() - asked_at < 1
            assert await ticks(town) == []

            town.cloud.weather = FAIR
            async with Working(town.runner()):
                await asyncio.sleep(5)
            assert [tick.status for tick in await ticks(town)] == ["succeeded"]

        play(scene)

    def test_waits_for_a_function_at_work_and_says_so_when_it_takes_too_long(self) -> None:
        async def scene(town: Town) -> None:
            await deploy(town, answers_after_seconds=50.0)
            async with Working(town.runner()):
                await asyncio.sleep(61 - virtual_time.seconds())
                asked_at = virtual_time.seconds()
            assert virtual_time.seconds() - asked_at <= STOP_SECONDS_MAX + 1

            [tick] = await ticks(town)
            assert (tick.status, tick.message) == ("unknown", schedules.STOPPED)
            async with Working(town.runner()):
                await asyncio.sleep(30)
            assert len(called(town)) == 1

        play(scene)
