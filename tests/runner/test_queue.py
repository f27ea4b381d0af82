"""The queue of deployments goes on: whatever is canceled, however long builds take, and as many at once as plans allow."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from uuid import UUID

import pytest

from domain.deployment import CancelTooLate
from providers.simulated.weather import FAIR, Behaviour, Weather
from tests.runner.test_advance import WHOLE_STORY
from tests.runner.test_loop import Working, play
from tests.runner.town import Town
from tests.support.limits import replay

BUILD_SECONDS = 60.0
SLOW = Behaviour(build_seconds=3, healthy_after_seconds=3)
SILENT = Weather(unreachable=1.0)
BUSY = Weather(latency_seconds_max=0.3)
# From its queueing to its outcome; the last two steps are recorded together, and then there is nothing to cancel.
STEPS = WHOLE_STORY[:-2]


async def until_recorded(town: Town, deployment_id: UUID, step: str, *, look_seconds: float = 0.01) -> None:
    while step not in await town.story(deployment_id):
        await asyncio.sleep(look_seconds)


class TestACancel:
    """The tenant may have one deployment under way: while that is not over, nobody else's turn comes."""

    @pytest.mark.parametrize("step", STEPS)
    def test_lets_the_next_begin_whatever_the_canceled_one_was_doing(self, step: str) -> None:
        async def scene(town: Town) -> None:
            await town.found(concurrent=1)
            await town.settle(functions=2)
            async with Working(town.runner()):
                before = await town.queue(*town.functions[1], SLOW) if step == STEPS[0] else None
                canceled = await town.queue(*town.functions[0], SLOW)
                other = before or await town.queue(*town.functions[1], SLOW)
                await until_recorded(town, canceled, step)
                with suppress(CancelTooLate):
                    await town.cancel(canceled)
                again = await town.queue(*town.functions[0], SLOW)
                assert await town.settled(seconds_max=60)

            assert [(await town.deployment(id)).status for id in (other, again)] == ["succeeded"] * 2
            # What was verified may serve already, so the request was refused.
            outcome = (await town.deployment(canceled)).status
            assert outcome == ("succeeded" if step == STEPS[-1] else "canceled")
            assert town.cloud.made[canceled].remains(1e9) == () or outcome == "succeeded"
            (await replay(town.log)).check_end()

        play(scene, BUSY)

    def test_of_what_cannot_be_taken_away_holds_the_others_up_for_a_bounded_time(self) -> None:
        async def scene(town: Town) -> None:
            await town.found(concurrent=1)
            await town.settle(functions=2)
            async with Working(town.runner()):
                canceled = await town.queue(*town.functions[0], SLOW)
                other = await town.queue(*town.functions[1], SLOW)
                await until_recorded(town, canceled, "deployment.build_started")
                town.cloud.weather = SILENT
                await town.cancel(canceled)
                await until_recorded(town, canceled, "deployment.canceled", look_seconds=1.0)
                town.cloud.weather = FAIR
                assert (await town.deployment(canceled)).remaining, "it is named"
                assert await town.settled(seconds_max=60)

            assert (await town.deployment(other)).status == "succeeded"

        play(scene)


class TestBuilds:
    def test_of_functions_and_projects_run_beside_each_other_up_to_the_limit(self) -> None:
        """*Method:* twelve builds of a minute each, of six functions in each of two tenants that may have three under way: two
        minutes, where one by one they would take twelve."""

        async def scene(town: Town) -> None:
            await town.found(concurrent=3)
            for _ in range(2):
                await town.settle(functions=6)
            for function in town.functions:
                await town.queue(*function, Behaviour(build_seconds=BUILD_SECONDS))
            async with Working(town.runner()):
                assert await town.settled(seconds_max=2.5 * BUILD_SECONDS)

            found = await replay(town.log)
            found.check_end()
            assert found.most["tenant"] == 3

        play(scene)
