"""What plans keep no longer goes; what serves, and the newest good releases, never do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import pytest

from commands.deployment import RedeployDeployment, RollbackDeployment
from domain.artifact import ARTIFACT, Artifact, ArtifactGone
from domain.event import Fact
from domain.function import FUNCTION, FunctionArchived
from domain.rollback import RollbackImageGone
from eventstore.secret_values import SecretLost
from eventstore.ticks import Tick
from process.secret import Secret
from providers.simulated.weather import FAIR, STORMY, Behaviour, Weather
from tests.runner.test_loop import Working
from tests.runner.town import CONTENT, DIGEST, Town
from tests.support import a, virtual_time
from tests.support.kept import bytes_of
from tests.support.mortal import Mortal

KEPT = 2
LOG_DAYS = 7
FILE_DAYS = 30
DAY = 24 * 3600.0

Scene = Callable[[Town], Awaitable[None]]


def play(scene: Scene, weather: Weather = FAIR, *, functions: int = 1) -> None:
    async def played() -> None:
        town = Town(weather=weather)
        await town.found(releases_kept=KEPT, log_retention_days=LOG_DAYS, artifact_retention_days=FILE_DAYS)
        await town.settle(functions)
        await scene(town)

    virtual_time.run(played())


async def deploy(town: Town, count: int) -> list[UUID]:
    """One after the other, each to its end."""
    made = []
    for _ in range(count):
        made.append(await town.queue())
        assert await town.settled(seconds_max=DAY)
    return made


async def rounds(town: Town, count: int) -> None:
    """So many rounds, each by a runner that has just come."""
    for _ in range(count):
        async with Working(town.runner()):
            await asyncio.sleep(60)


async def retired(town: Town, ids: list[UUID]) -> list[bool]:
    return [(await town.deployment(id)).retired for id in ids]


async def build_log(town: Town, deployment_id: UUID) -> str:
    return (await town.build_logs.read(town.tenant_of(deployment_id), deployment_id)).text


async def files(town: Town) -> list[Artifact]:
    """The states of all artifacts."""
    events = [event for event in await town.log.read(0, limit=10_000) if event.type == "artifact.staged"]
    found = {event.stream_id: event.tenant_id for event in events}
    return [await town.fold(ARTIFACT, ARTIFACT.stream(tenant_id, id)) for id, tenant_id in found.items()]


class TestReleases:
    def test_beyond_what_the_plan_keeps_are_retired_and_taken_away(self) -> None:
        async def scene(town: Town) -> None:
            async with Working(town.runner()):
                made = await deploy(town, 5)
            await rounds(town, 2)  # What is retired in one round is taken away in the next.

            assert await retired(town, made) == [True, True, False, False, False]
            remains = [bool(town.cloud.made[id].remains(virtual_time.seconds())) for id in made]
            assert remains == [False, False, True, True, True]
            assert (await town.deployment(made[0])).withdrawn
            with pytest.raises(RollbackImageGone):
                await town.again(RollbackDeployment, made[1])
            await town.again(RollbackDeployment, made[2])

        play(scene)

    def test_that_failed_do_not_count_among_those_kept(self) -> None:
        async def scene(town: Town) -> None:
            async with Working(town.runner()):
                good = await deploy(town, 3)
                for _ in range(3):
                    await town.queue(behaviour=Behaviour(build_fails=True))
                    assert await town.settled(seconds_max=DAY)
            await rounds(town, 2)

            assert await retired(town, good) == [False, False, False]

        play(scene)

    def test_go_however_often_runners_die_and_clouds_fail_and_never_the_wrong_ones(self) -> None:
        async def scene(town: Town) -> None:
            async with Working(town.runner()):
                made = await deploy(town, 6)
            for _ in range(12):
                process = Mortal(dies_at_step=town.random.randrange(50, 1_500))
                process.start(town.runner().run(asyncio.Event()))
                await asyncio.sleep(600)
                process.kill()
            town.cloud.weather = FAIR
            await asyncio.sleep(60)
            await rounds(town, 3)

            succeeded = [id for id in made if (await town.deployment(id)).status == "succeeded"]
            beyond = len(succeeded) - KEPT - 1
            assert beyond > 0
            assert await retired(town, succeeded) == [True] * beyond + [False] * (KEPT + 1)
            for id in succeeded:
                story = await town.story(id)
                assert story.count("deployment.retired") <= 1
                assert bool(town.cloud.made[id].remains(virtual_time.seconds())) is (id in succeeded[beyond:])

        play(scene, STORMY)


class TestFiles:
    def test_go_when_nothing_has_needed_them_for_long_and_come_back_when_uploaded_again(self) -> None:
        async def scene(town: Town) -> None:
            [(tenant_id, function_id)] = town.functions
            async with Working(town.runner()):
                [first] = await deploy(town, 1)
                await town.record(a.function_updated_of(tenant_id, function_id), tenant_id=tenant_id)
                await town.undeploy(first)
                assert await town.settled(seconds_max=DAY)
            await asyncio.sleep((FILE_DAYS + 3) * DAY)

            await rounds(town, 1)
            assert [file.discarded for file in await files(town)] == [True, True]
            assert await bytes_of(town.contents, tenant_id, DIGEST) == CONTENT
            with pytest.raises(ArtifactGone):
                await town.again(RedeployDeployment, first)
            await rounds(town, 1)
            assert await bytes_of(town.contents, tenant_id, DIGEST) is None

        play(scene)

    def test_stay_while_a_function_names_them_or_a_kept_release_was_made_from_them(self) -> None:
        async def scene(town: Town) -> None:
            [(tenant_id, function_id)] = town.functions
            await asyncio.sleep((FILE_DAYS + 3) * DAY)
            await rounds(town, 2)
            assert [file.discarded for file in await files(town)] == [False, False]
            async with Working(town.runner()):
                await deploy(town, 1)
            await town.record(a.function_updated_of(tenant_id, function_id), tenant_id=tenant_id)
            await asyncio.sleep((FILE_DAYS + 3) * DAY)
            await rounds(town, 2)

            assert [file.discarded for file in await files(town)] == [False, False]
            assert await bytes_of(town.contents, tenant_id, DIGEST) == CONTENT

        play(scene)


class TestAClosedTenant:
    def test_has_nothing_deployed_that_was_queued_in_the_same_instant(self) -> None:
        async def scene(town: Town) -> None:
            queued = await town.queue()
            await town.record(a.tenant_closed(), tenant_id=town.tenant_of(queued))

            async with Working(town.runner()):
                assert await town.settled(seconds_max=DAY)

            deployment = await town.deployment(queued)
            assert (deployment.outcome, deployment.build_id) == ("canceled", "")
            assert await town.log.counted(town.tenant_of(queued)) == {("deployments", "queued"): 0}

        play(scene)


class TestSecrets:
    def test_of_functions_put_away_go_when_their_files_would_and_others_stay(self) -> None:
        async def scene(town: Town) -> None:
            [(tenant_id, away), (_, stays)] = town.functions
            vault = town.stores.secrets
            for function_id in (away, stays):
                await vault.close(tenant_id, function_id, function_id, Secret("hunter2"))
            await town.record(Fact(FUNCTION.stream(tenant_id, away), FunctionArchived(reason="")), tenant_id=tenant_id)
            await asyncio.sleep((FILE_DAYS - 1) * DAY)
            await rounds(town, 1)
            assert (await vault.open(tenant_id, away, away)).reveal() == "hunter2"

            await asyncio.sleep(2 * DAY)
            await rounds(town, 1)

            with pytest.raises(SecretLost):
                await vault.open(tenant_id, away, away)
            assert (await vault.open(tenant_id, stays, stays)).reveal() == "hunter2"

        play(scene, functions=2)


class TestLogs:
    def test_of_what_failed_go_after_the_plans_days_and_those_of_kept_releases_stay(self) -> None:
        async def scene(town: Town) -> None:
            async with Working(town.runner()):
                failed = await town.queue(behaviour=Behaviour(build_seconds=20, build_fails=True))
                assert await town.settled(seconds_max=DAY)
                [kept] = await deploy(town, 1)
            before = await build_log(town, kept)
            await asyncio.sleep((LOG_DAYS - 1) * DAY)
            await rounds(town, 1)
            assert "line" in await build_log(town, failed)
            await asyncio.sleep(2 * DAY)
            await rounds(town, 1)

            assert "kept for 7 days" in await build_log(town, failed)
            assert await build_log(town, kept) == before

        play(scene)


class TestTicks:
    def test_go_after_the_plans_days_but_for_the_newest(self) -> None:
        async def scene(town: Town) -> None:
            [(tenant_id, function_id)] = town.functions
            ticks = [
                Tick(
                    tenant_id=tenant_id,
                    function_id=function_id,
                    due_at=virtual_time.now() + timedelta(hours=hour),
                    deployment_id=function_id,
                )
                for hour in range(3)
            ]
            await town.stores.ticks.take(ticks, seconds=60)
            await asyncio.sleep((LOG_DAYS + 2) * DAY)
            await rounds(town, 1)

            left = await town.stores.ticks.read(tenant_id, function_id, limit=10)
            assert [tick.due_at for tick in left] == [ticks[-1].due_at]

        play(scene)
