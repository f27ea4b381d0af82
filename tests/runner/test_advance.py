"""One deployment, turn by turn, through crashes, refusals, limits and rivals."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import msgspec
import pytest

from commands.deployment import RollbackDeployment
from domain.deployment import CancelTooLate, DeploymentWaiting
from domain.event import Fact, StreamRef
from domain.function import FUNCTION
from eventstore.log import NO_STREAM, Log, StoredEvent
from eventstore.secret_values import MemorySecretStore, SecretVault
from process.key_ring import KeyRing, MemoryWrappedKeys
from process.secret import Secret
from providers.hiding import HIDDEN_AS
from providers.simulated.weather import Behaviour, Weather
from runner.advance import Turns, advance
from runner.composition import stores_in_memory
from runner.patience import JITTER, POLL_SECONDS_MAX
from runner.world import Held, World
from tests.runner.town import Town
from tests.support import a, virtual_time
from tests.support.key_service import MemoryKeyService
from tests.support.mortal import Mortal

WHOLE_STORY = [
    "deployment.queued",
    "deployment.claimed",
    "deployment.bundled",
    "deployment.build_started",
    "deployment.build_succeeded",
    "deployment.pushed",
    "deployment.release_started",
    "deployment.release_applied",
    "deployment.release_verified",
    "deployment.activated",
    "deployment.succeeded",
]
OUTCOMES = {"deployment.succeeded", "deployment.failed", "deployment.canceled"}
TURNS_MAX = 2_000


async def drive(held: Held, world: World) -> None:
    """Turn after turn until it is over for this runner."""
    turns = Turns()
    for _ in range(TURNS_MAX):
        seconds = await advance(held, turns, world, news=True)
        if seconds is None:
            return
        await asyncio.sleep(seconds)
    raise AssertionError(f"not over after {TURNS_MAX} turns")


async def one_function(town: Town) -> None:
    await town.found()
    await town.settle()


async def deployed(town: Town, behaviour: Behaviour | None = None) -> UUID:
    """A deployment carried to its end."""
    deployment_id = await town.queue(behaviour=behaviour)
    await drive(await town.claim(deployment_id), town.world())
    return deployment_id


def outcomes(story: list[str]) -> list[str]:
    return [type for type in story if type in OUTCOMES]


def steps_counted(world: World) -> set[str]:
    """The steps of which the metrics say that one was done."""
    [metric] = world.metrics.step_seconds.collect()
    return {sample.labels["step"] for sample in metric.samples if sample.name.endswith("_count") and sample.value}


Scene = Callable[[Town], Awaitable[None]]


def play(scene: Scene, weather: Weather | None = None) -> None:
    """A scene in a town with one function, in virtual time."""

    async def played() -> None:
        town = Town(weather=weather or Weather())
        await one_function(town)
        await scene(town)
        assert town.cloud.violations == []

    virtual_time.run(played())


class TestTheWholeWay:
    def test_ends_in_succeeded_with_every_step_recorded_once(self) -> None:
        async def scene(town: Town) -> None:
            deployment_id = await deployed(town)

            assert await town.story(deployment_id) == WHOLE_STORY
            serving = town.cloud.serving(await town.release_order(deployment_id))
            assert serving is not None
            assert serving.deployment_id == deployment_id

        play(scene)

    def test_keeps_what_the_build_said_each_line_once(self) -> None:
        async def scene(town: Town) -> None:
            deployment_id = await deployed(town, Behaviour(build_seconds=5))

            assert await town.said(deployment_id) == "".join(f"line {line}\n" for line in range(10))

        play(scene)

    def test_has_what_the_build_said_stored_while_it_still_runs(self) -> None:
        """Goal: whoever follows a build sees it build. Method: what is stored is read every ten seconds of a minute's build,
        which says two lines a second."""

        async def scene(town: Town) -> None:
            deployment_id = await town.queue(behaviour=Behaviour(build_seconds=60))
            driven = asyncio.create_task(drive(await town.claim(deployment_id), town.world()))
            stored = ""
            for seconds in range(10, 60, 10):
                await asyncio.sleep(10)
                before, stored = stored, await town.said(deployment_id)

                assert "deployment.build_succeeded" not in await town.story(deployment_id)
                assert stored.startswith(before)
                lines = stored.splitlines()
                assert lines == [f"line {line}" for line in range(len(lines))]
                assert seconds - POLL_SECONDS_MAX * (1 + JITTER) <= len(lines) / 2 <= seconds
            await driven

            assert len((await town.said(deployment_id)).splitlines()) == 120

        play(scene)

    def test_redacts_the_build_log_before_it_is_written(self) -> None:
        async def scene(town: Town) -> None:
            deployment_id = await town.queue()
            world = town.world(redact=lambda text: text.replace("line", "****"))
            await drive(await town.claim(deployment_id), world)

            said = await town.said(deployment_id)
            assert "****" in said
            assert "line" not in said

        play(scene)

    def test_records_no_event_for_a_mere_look(self) -> None:
        async def scene(town: Town) -> None:
            deployment_id = await deployed(town, Behaviour(build_seconds=600, healthy_after_seconds=20))

            assert await town.story(deployment_id) == WHOLE_STORY

        play(scene)


class Read:
    """The town's log, noting what is read of it."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.streams: list[StreamRef] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def load(self, streams: Sequence[StreamRef], *, after: int = NO_STREAM) -> list[list[StoredEvent]]:
        self.streams += streams
        return await self._log.load(streams, after=after)


class TestATurn:
    def test_after_a_claim_or_a_report_waits_for_no_reading_of_what_was_just_recorded(self) -> None:
        async def scene(town: Town) -> None:
            deployment_id = await town.queue()
            held, turns, log = await town.claim(deployment_id), Turns(), Read(town.log)
            world = msgspec.structs.replace(town.world(), log=log)

            while (seconds := await advance(held, turns, world, news=False)) is not None:
                await asyncio.sleep(seconds)

            assert await town.story(deployment_id) == WHOLE_STORY
            assert log.streams == []

        play(scene)

    def test_after_news_reads_what_others_recorded(self) -> None:
        async def scene(town: Town) -> None:
            deployment_id = await town.queue(behaviour=Behaviour(build_seconds=3600))
            held, turns, world = await town.claim(deployment_id), Turns(), town.world()
            await advance(held, turns, world, news=False)
            await town.cancel(deployment_id)
            await advance(held, turns, world, news=True)

            assert turns.seen.deployment.cancel_requested

        play(scene)


class TestACrash:
    """A runner is killed at each of its awaits in turn; the next one finishes what it finds."""

    def test_ends_in_one_outcome_with_one_build_wherever_it_happens(self) -> None:
        def killed_at(step: int) -> bool:
            async def scene(town: Town) -> None:
                deployment_id = await town.queue()
                died = await die_and_resume(town, deployment_id, step)

                story = await town.story(deployment_id)
                assert [type for type in story if type != "deployment.claimed"] == WITHOUT_CLAIM, f"killed at {step}"
                assert town.cloud.made[deployment_id].builds_started == 1
                assert await town.said(deployment_id) == "line 0\nline 1\nline 2\nline 3\n"
                survived.append(not died)

            survived: list[bool] = []
            play(scene, Weather(latency_seconds_max=0.1, visible_seconds_max=1.0))
            return survived[0]

        assert every_step(killed_at) > 20

    @pytest.mark.parametrize(
        ("behaviour", "code"),
        [
            (Behaviour(build_fails=True), "build_failed"),
            (Behaviour(comes_up_unhealthy=True), "release_unhealthy"),
            (Behaviour(refused="push"), "permission_denied"),
        ],
        ids=["build fails", "release unhealthy", "push refused"],
    )
    def test_keeps_the_reason_and_leaves_nothing_behind_when_it_was_failing(
        self, behaviour: Behaviour, code: str
    ) -> None:
        def killed_at(step: int) -> bool:
            async def scene(town: Town) -> None:
                deployment_id = await town.queue(behaviour=behaviour)
                died = await die_and_resume(town, deployment_id, step)

                deployment = await town.deployment(deployment_id)
                assert deployment.failure is not None
                assert deployment.failure.code == code, f"killed at {step}"
                assert outcomes(await town.story(deployment_id)) == ["deployment.failed"]
                assert town.cloud.made[deployment_id].remains(virtual_time.seconds()) == ()
                survived.append(not died)

            survived: list[bool] = []
            play(scene, Weather(latency_seconds_max=0.1))
            return survived[0]

        every_step(killed_at)

    def test_while_undeploying_goes_on_from_there(self) -> None:
        def killed_at(step: int) -> bool:
            async def scene(town: Town) -> None:
                deployment_id = await deployed(town, Behaviour(sticks=1))
                await town.undeploy(deployment_id)
                died = await die_and_resume(town, deployment_id, step, epoch=2)

                assert (await town.deployment(deployment_id)).status == "undeployed", f"killed at {step}"
                assert town.cloud.made[deployment_id].remains(virtual_time.seconds()) == ()
                survived.append(not died)

            survived: list[bool] = []
            play(scene, Weather(latency_seconds_max=0.1))
            return survived[0]

        every_step(killed_at)


WITHOUT_CLAIM = [type for type in WHOLE_STORY if type != "deployment.claimed"]


async def die_and_resume(town: Town, deployment_id: UUID, step: int, epoch: int = 1) -> bool:
    """Drive it in a process that dies at a step; if it died, finish with the next epoch. Whether it died."""
    process = Mortal(dies_at_step=step)
    held = await town.claim(deployment_id, epoch)
    driving = process.start(drive(held, town.world()))
    death = asyncio.create_task(process.died.wait())
    await asyncio.wait([driving, death], return_when=asyncio.FIRST_COMPLETED)
    death.cancel()
    if not process.dead:
        await driving
        return False
    if (await town.deployment(deployment_id)).is_claimable:
        await drive(await town.claim(deployment_id, epoch + 1), town.world())
    return True


def every_step(killed_at: Callable[[int], bool]) -> int:
    """Kill at step 0, 1, 2 … until it survives. How many steps there were."""
    step = 0
    while not killed_at(step):
        step += 1
    return step


class TestAFailedBuild:
    def test_ends_in_failed_with_the_compilers_words(self) -> None:
        async def scene(town: Town) -> None:
            deployment_id = await deployed(town, Behaviour(build_fails=True))

            deployment = await town.deployment(deployment_id)
            assert deployment.status == "failed"
            assert deployment.failure is not None
            assert "main.dart" in deployment.failure.message
            assert deployment.failure.remedy
            assert deployment.remaining == ()

        play(scene)


class TestAnUnhealthyRelease:
    def test_leaves_the_former_one_serving(self) -> None:
        async def scene(town: Town) -> None:
            former = await deployed(town)
            failed = await deployed(town, Behaviour(comes_up_unhealthy=True))

            assert (await town.deployment(failed)).status == "failed"
            serving = town.cloud.serving(await town.release_order(failed))
            assert serving is not None
            assert serving.deployment_id == former
            assert len(town.cloud.served) == 1
            assert [served.deployment_id for served in next(iter(town.cloud.served.values()))] == [former]

        play(scene)

    def test_names_what_could_not_be_taken_away(self) -> None:
        async def scene(town: Town) -> None:
            deployment_id = await deployed(town, Behaviour(comes_up_unhealthy=True, sticks=99))

            deployment = await town.deployment(deployment_id)
            assert deployment.status == "failed"
            assert deployment.failure is not None
            assert deployment.failure.code == "release_unhealthy"
            assert deployment.remaining == ("image",)

        play(scene)


class TestCancel:
    """Asked at every instant of a deployment's life."""

    def test_ends_in_one_outcome_with_nothing_left_unless_it_serves(self) -> None:
        async def cancel_after(seconds: float, seen: set[str]) -> None:
            town = Town(weather=Weather(latency_seconds_max=0.5, visible_seconds_max=1.0))
            await one_function(town)
            deployment_id = await town.queue(behaviour=Behaviour(build_seconds=3))
            driving = asyncio.create_task(drive(await town.claim(deployment_id), town.world()))
            await asyncio.sleep(seconds)
            accepted = False
            if not driving.done():
                with suppress(CancelTooLate):
                    await town.cancel(deployment_id)
                    accepted = True
            await driving

            [outcome] = outcomes(await town.story(deployment_id))
            assert not accepted or outcome == "deployment.canceled"
            serving = town.cloud.serving(await town.release_order(deployment_id))
            remains = town.cloud.made[deployment_id].remains(virtual_time.seconds())
            assert (serving is not None) == (outcome == "deployment.succeeded")
            assert outcome == "deployment.succeeded" or remains == ()
            assert town.cloud.violations == []
            seen.add(outcome)

        seen: set[str] = set()
        for tenths in range(0, 130, 2):
            virtual_time.run(cancel_after(tenths / 10, seen))
        assert seen == {"deployment.succeeded", "deployment.canceled"}

    def test_stops_the_build_for_real(self) -> None:
        async def scene(town: Town) -> None:
            deployment_id = await town.queue(behaviour=Behaviour(build_seconds=600))
            driving = asyncio.create_task(drive(await town.claim(deployment_id), town.world()))
            await asyncio.sleep(10)
            await town.cancel(deployment_id)
            await driving

            made = town.cloud.made[deployment_id]
            assert (made.builds_started, made.builds_stopped) == (1, 1)
            assert virtual_time.seconds() < 30
            assert outcomes(await town.story(deployment_id)) == ["deployment.canceled"]

        play(scene)

    def test_accepted_before_the_runner_heard_of_it_has_no_step_counted_that_was_not_recorded(self) -> None:
        async def scene(town: Town) -> None:
            deployment_id = await town.queue()
            held, turns, world = await town.claim(deployment_id), Turns(), town.world()
            while not (await town.deployment(deployment_id)).release_applied:
                await asyncio.sleep(await advance(held, turns, world, news=False) or 0)
            await advance(held, turns, world, news=False)
            await asyncio.sleep(5)
            await town.cancel(deployment_id)
            await advance(held, turns, world, news=False)

            assert not (await town.deployment(deployment_id)).release_verified
            assert "verify" not in steps_counted(world)
            await drive(held, world)
            assert outcomes(await town.story(deployment_id)) == ["deployment.canceled"]
            assert "withdraw" in steps_counted(world)

        play(scene)


class TestAStep:
    def test_that_takes_too_long_is_a_failure_that_names_it(self) -> None:
        async def scene(town: Town) -> None:
            deployment_id = await deployed(town, Behaviour(build_seconds=100_000))

            deployment = await town.deployment(deployment_id)
            assert deployment.failure is not None
            assert (deployment.failure.code, deployment.failure.step) == ("step_timed_out", "build")
            assert deployment.failure.remedy
            assert 900 < virtual_time.seconds() < 1_000

        play(scene)

    @pytest.mark.parametrize(
        "weather", [Weather(unreachable=1.0), Weather(throttled=1.0)], ids=["silent", "throttling"]
    )
    def test_ends_in_bounded_time_even_if_the_cloud_never_answers(self, weather: Weather) -> None:
        async def scene(town: Town) -> None:
            town.cloud.weather = weather
            deployment_id = await deployed(town)

            deployment = await town.deployment(deployment_id)
            assert deployment.status == "failed"
            assert deployment.failure is not None
            assert deployment.failure.code == "step_timed_out"
            assert deployment.remaining
            assert virtual_time.seconds() < 600
            waits = [event for event in await town.events(deployment_id) if isinstance(event, DeploymentWaiting)]
            assert 1 <= len(waits) <= 4

        play(scene)

    def test_that_the_cloud_refuses_fails_with_its_code_and_remedy(self) -> None:
        async def scene(town: Town) -> None:
            deployment_id = await deployed(town, Behaviour(refused="start_build"))

            deployment = await town.deployment(deployment_id)
            assert deployment.failure is not None
            assert deployment.failure.code == "permission_denied"
            assert deployment.failure.step == "build"
            assert deployment.failure.remedy == "Grant the right to start_build."

        play(scene)

    def test_nobody_worked_on_during_an_outage_of_the_runners_still_gets_its_chance(self) -> None:
        async def scene(town: Town) -> None:
            deployment_id = await town.queue()
            await town.claim(deployment_id)
            await asyncio.sleep(3600)
            await drive(await town.claim(deployment_id, epoch=2), town.world())

            assert (await town.deployment(deployment_id)).status == "succeeded"

        play(scene)


class TestAnOutageOfTheKeyService:
    def test_is_waited_out_with_the_reason_told_and_no_log_written_meanwhile(self) -> None:
        """
        Goal: no secret is shown, nothing fails and nothing is lost while nobody can open a secret.
        Method: the service is away from before the build ends until a minute after.
        """

        async def scene() -> None:
            service = MemoryKeyService()
            ring = KeyRing(MemoryWrappedKeys(virtual_time.now), current=service, kept_max=0)
            vault = SecretVault(MemorySecretStore(), ring=ring)
            town = Town(stores=msgspec.structs.replace(stores_in_memory(virtual_time.now), secrets=vault, ring=ring))
            await one_function(town)
            tenant_id, function_id = town.functions[0]
            value_id = town.new_id()
            await vault.close(tenant_id, function_id, value_id, Secret("line"))
            await town.record(Fact(FUNCTION.stream(tenant_id, function_id), a.secret_set(value_id=value_id).event))
            deployment_id = await town.queue()
            service.away = True
            driven = asyncio.create_task(drive(await town.claim(deployment_id), town.world()))
            await asyncio.sleep(60)

            story = await town.story(deployment_id)
            assert "deployment.waiting" in story
            assert "deployment.build_succeeded" not in story
            assert (await town.build_logs.read(tenant_id, deployment_id)).text == ""
            [waiting] = [one for one in await town.events(deployment_id) if isinstance(one, DeploymentWaiting)][:1]
            assert "master key" in waiting.message
            assert service.name not in waiting.message

            service.away = False
            await driven
            assert (await town.deployment(deployment_id)).status == "succeeded"
            log = (await town.build_logs.read(tenant_id, deployment_id)).text
            assert log == "".join(f"{HIDDEN_AS} {line}\n" for line in range(4))
            assert town.cloud.violations == []

        virtual_time.run(scene())


class TestAnActivationThatWasNotHeardOf:
    """The cloud goes silent while the release is let serve, in place of one that served before."""

    @pytest.mark.parametrize(
        ("was_let_serve", "comes_back", "outcome"),
        [(True, True, "succeeded"), (False, True, "failed"), (True, False, "failed")],
        ids=["it serves", "it does not", "nobody can tell"],
    )
    def test_leaves_somebody_serving(self, was_let_serve: bool, comes_back: bool, outcome: str) -> None:
        async def scene(town: Town) -> None:
            former = await deployed(town)
            later = await town.queue()
            held, world, turns = await town.claim(later), town.world(), Turns()
            while not (await town.deployment(later)).release_verified:
                await asyncio.sleep(await advance(held, turns, world, news=True) or 0)
            order = await town.release_order(later)
            if was_let_serve:
                await town.cloud.promote(order)
            town.cloud.weather = Weather(unreachable=1.0)
            while not (await town.deployment(later)).failing:
                await asyncio.sleep(await advance(held, turns, world, news=True) or 0)
            if comes_back:
                town.cloud.weather = Weather()
            await drive(held, world)

            deployment, serving = await town.deployment(later), town.cloud.serving(order)
            assert deployment.status == outcome
            assert bool(deployment.remaining) == (not comes_back)
            assert serving is not None
            assert serving.deployment_id == (later if was_let_serve else former)

        play(scene)


class TestARollback:
    def test_serves_what_was_built_before_and_builds_nothing(self) -> None:
        async def scene(town: Town) -> None:
            first = await deployed(town)
            await deployed(town)
            back = await town.again(RollbackDeployment, first)
            await drive(await town.claim(back), town.world())

            assert await town.story(back) == [
                "deployment.queued",
                "deployment.claimed",
                "deployment.release_started",
                "deployment.release_applied",
                "deployment.release_verified",
                "deployment.activated",
                "deployment.succeeded",
            ]
            assert town.cloud.made[back].builds_started == 0
            assert (await town.deployment(back)).image_digest == (await town.deployment(first)).image_digest
            serving = town.cloud.serving(await town.release_order(back))
            assert serving is not None
            assert serving.deployment_id == back

        play(scene, Weather(latency_seconds_max=0.3, visible_seconds_max=1.0))

    def test_that_fails_leaves_the_image_to_the_deployment_that_built_it(self) -> None:
        async def scene(town: Town) -> None:
            first = await deployed(town)
            await deployed(town)
            back = await town.again(RollbackDeployment, first, Behaviour(comes_up_unhealthy=True))
            await drive(await town.claim(back), town.world())
            again = await town.again(RollbackDeployment, first)
            await drive(await town.claim(again), town.world())

            assert (await town.deployment(back)).status == "failed"
            assert (await town.deployment(again)).status == "succeeded"

        play(scene)

    def test_ends_in_one_outcome_wherever_its_runner_dies(self) -> None:
        def killed_at(step: int) -> bool:
            async def scene(town: Town) -> None:
                first = await deployed(town)
                await deployed(town)
                back = await town.again(RollbackDeployment, first)
                died = await die_and_resume(town, back, step)

                assert outcomes(await town.story(back)) == ["deployment.succeeded"], f"killed at {step}"
                survived.append(not died)

            survived: list[bool] = []
            play(scene, Weather(latency_seconds_max=0.1))
            return survived[0]

        assert every_step(killed_at) > 10


class TestARival:
    def test_with_a_higher_epoch_makes_this_runner_let_go(self) -> None:
        async def scene(town: Town) -> None:
            deployment_id = await town.queue()
            first = await town.claim(deployment_id, epoch=1)
            driving = asyncio.create_task(drive(first, town.world()))
            await asyncio.sleep(1)
            second = await town.claim(deployment_id, epoch=2)
            await asyncio.gather(driving, drive(second, town.world()))

            story = await town.story(deployment_id)
            assert outcomes(story) == ["deployment.succeeded"]
            assert town.cloud.made[deployment_id].builds_started == 1

        play(scene, Weather(latency_seconds_max=0.5))

    def test_has_this_runners_late_report_refused_and_that_recorded(self) -> None:
        async def scene(town: Town) -> None:
            deployment_id = await town.queue(behaviour=Behaviour(build_seconds=3))
            late, turns, world = await town.claim(deployment_id, epoch=1), Turns(), town.world()
            while not turns.polls:
                await advance(late, turns, world, news=False)
            await town.claim(deployment_id, epoch=2)
            before = await town.story(deployment_id)
            await asyncio.sleep(3)

            assert await advance(late, turns, world, news=False) is None
            recorded = await town.log.read(0, limit=1_000)
            refused = [msgspec.json.decode(one.data) for one in recorded if one.type == "command.refused"]
            assert [(one["command"], one["code"]) for one in refused] == [("RecordBuildSucceeded", "stale_epoch")]
            assert await town.story(deployment_id) == before

        play(scene)


class TestUndeploy:
    def test_takes_everything_away(self) -> None:
        async def scene(town: Town) -> None:
            deployment_id = await deployed(town)
            await town.undeploy(deployment_id)
            await drive(await town.claim(deployment_id, epoch=2), town.world())

            assert (await town.deployment(deployment_id)).status == "undeployed"
            assert town.cloud.made[deployment_id].remains(virtual_time.seconds()) == ()
            assert town.cloud.serving(await town.release_order(deployment_id)) is None

        play(scene)

    def test_that_cannot_finish_names_what_remains_and_can_be_asked_again(self) -> None:
        async def scene(town: Town) -> None:
            deployment_id = await deployed(town, Behaviour(sticks=6))
            await town.undeploy(deployment_id)
            await drive(await town.claim(deployment_id, epoch=2), town.world())

            halfway = await town.deployment(deployment_id)
            assert halfway.status == "undeploy_failed"
            assert halfway.remaining == ("image",)

            await town.undeploy(deployment_id)
            await drive(await town.claim(deployment_id, epoch=3), town.world())

            assert (await town.deployment(deployment_id)).status == "undeployed"

        play(scene)
