"""What a cloud says of a deployment reaches the log without the values of its secrets, wherever and whenever it says it."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import msgspec
import pytest
from structlog.testing import capture_logs

from domain.deployment import Deployment, DeploymentWaiting
from eventstore.secret_values import MemorySecretStore, SecretVault
from process.key_ring import KeyRing, MemoryWrappedKeys
from providers.hiding import HIDDEN_AS, hide_in_excerpt
from providers.provider import Observation, Order, Service
from providers.simulated.provider import SimulatedProvider
from providers.simulated.weather import FAIR, Behaviour, Weather
from runner.composition import stores_in_memory, without_secrets
from runner.discretion import WITHHELD_AS_LOST, WITHHELD_FOR_NOW
from tests.runner.test_advance import drive, one_function
from tests.runner.test_loop import Working
from tests.runner.town import Town
from tests.support import virtual_time
from tests.support.key_service import MemoryKeyService

SENTINEL = "sentinel-9b1-never-to-be-told"


def told(deployment: Deployment) -> str:
    """All that is recorded of it, as its events carry it."""
    return msgspec.json.encode(deployment).decode()


class TestWhatACloudSays:
    @pytest.mark.parametrize(
        ("behaviour", "code"),
        [
            (Behaviour(build_fails=True), "build_failed"),
            (Behaviour(comes_up_unhealthy=True), "release_unhealthy"),
            *((Behaviour(refused=verb), "permission_denied") for verb in ("bundle", "start_build", "push", "apply")),
            (Behaviour(refused="observe"), "permission_denied"),
            (Behaviour(refused="promote"), "permission_denied"),
        ],
        ids=lambda value: value if isinstance(value, str) else value.refused or "failing",
    )
    def test_is_told_without_values_when_it_ends_a_deployment(self, behaviour: Behaviour, code: str) -> None:
        deployment = self._played(behaviour)

        assert deployment.failure is not None
        assert deployment.failure.code == code
        assert HIDDEN_AS in deployment.failure.message
        assert SENTINEL not in told(deployment)

    def test_is_told_without_values_when_it_makes_a_deployment_wait(self) -> None:
        async def scene() -> list[str]:
            town, id = await self._queued(Behaviour(says=f" {SENTINEL}"), weather=Weather(throttled=0.9))
            await drive(await town.claim(id), town.world(redact=without_secrets))
            return [one.message for one in await town.events(id) if isinstance(one, DeploymentWaiting)]

        waits = virtual_time.run(scene())

        assert waits
        assert all(wait == f"Too many requests. {HIDDEN_AS}" for wait in waits)

    def test_is_told_without_credentials_nobody_here_knew_of(self) -> None:
        deployment = self._played(Behaviour(comes_up_unhealthy=True, says=" postgres://me:hunter2@db/ "))

        assert deployment.failure is not None
        assert "postgres://me:" in deployment.failure.message
        assert "hunter2" not in told(deployment)

    def test_and_nobody_foresaw_stands_in_our_log_without_values(self) -> None:
        class Breaking(SimulatedProvider):
            async def push(self, order: Order) -> Any:
                raise RuntimeError(f"it was given {SENTINEL}")

        async def scene() -> Deployment:
            town, id = await self._queued(Behaviour(), cloud=Breaking)
            held = await town.claim(id)
            driven = asyncio.create_task(drive(held, town.world()))
            await asyncio.sleep(30)
            driven.cancel()
            return await town.deployment(id)

        with capture_logs() as lines:
            virtual_time.run(scene())

        [trace, *_] = [line["exception"] for line in lines if line["event"] == "provider_failed"]
        assert "in push" in trace
        assert trace.endswith(f"RuntimeError: it was given {HIDDEN_AS}")
        assert SENTINEL not in repr(lines)

    def test_long_after_is_a_difference_without_values(self) -> None:
        class Dying(SimulatedProvider):
            async def observe(self, order: Order) -> Observation:
                seen = await super().observe(order)
                if virtual_time.seconds() < 400 or seen.service is None:
                    return seen
                # Cut off where a difference is, and not before the value is hidden.
                died = Service(status="unhealthy", url="", revision="", message="x" * 260 + SENTINEL * 3)
                return msgspec.structs.replace(seen, service=died)

        async def scene() -> tuple[str, ...]:
            town, id = await self._queued(Behaviour(), cloud=Dying)
            async with Working(town.runner()):
                assert await town.settled(seconds_max=300)
                await asyncio.sleep(1_200)
                return (await town.deployment(id)).drift

        differences = virtual_time.run(scene())

        assert any("the service is unhealthy" in one for one in differences)
        assert "sentinel" not in repr(differences)

    def test_is_withheld_once_a_value_is_kept_no_more(self) -> None:
        async def scene() -> Deployment:
            town, id = await self._queued(
                Behaviour(comes_up_unhealthy=True, healthy_after_seconds=60, says=f" {SENTINEL}")
            )
            tenant_id, function_id = town.functions[0]
            driven = asyncio.create_task(drive(await town.claim(id), town.world()))
            await asyncio.sleep(30)
            await town.stores.secrets.forget(tenant_id, function_id)
            await driven
            return await town.deployment(id)

        deployment = virtual_time.run(scene())

        assert deployment.failure is not None
        assert deployment.failure.code == "release_unhealthy"
        assert deployment.failure.message == WITHHELD_AS_LOST

    def _played(self, behaviour: Behaviour) -> Deployment:
        async def scene() -> Deployment:
            says = behaviour.says + f" {SENTINEL}"
            town, id = await self._queued(msgspec.structs.replace(behaviour, says=says))
            await drive(await town.claim(id), town.world(redact=without_secrets))
            for event in await town.events(id):
                assert SENTINEL not in msgspec.json.encode(event).decode()
            return await town.deployment(id)

        return virtual_time.run(scene())

    async def _queued(
        self, behaviour: Behaviour, *, weather: Weather = FAIR, cloud: type[SimulatedProvider] = SimulatedProvider
    ) -> tuple[Town, UUID]:
        town = Town(weather=weather, cloud=cloud)
        await one_function(town)
        await town.set_secret(*town.functions[0], SENTINEL)
        return town, await town.queue(behaviour=behaviour)


class TestWhileTheMasterKeyIsAway:
    """Nobody knows then what is to be hidden: words wait, and are withheld rather than told; nothing else waits for them."""

    @pytest.mark.parametrize(
        ("behaviour", "code", "since"),
        [
            (Behaviour(build_fails=True), "build_failed", 1),
            (Behaviour(refused="push"), "permission_denied", 1),
            (Behaviour(comes_up_unhealthy=True, healthy_after_seconds=20), "release_unhealthy", 15),
        ],
        ids=["build", "refusal", "release"],
    )
    def test_a_failure_is_told_once_it_is_back(self, behaviour: Behaviour, code: str, since: float) -> None:
        async def scene() -> Deployment:
            town, service, id = await self._queued(behaviour)
            driven = asyncio.create_task(drive(await town.claim(id), town.world()))
            await asyncio.sleep(since)
            service.away = True
            await asyncio.sleep(30)
            assert (await town.deployment(id)).failing is None
            waits = [one.message for one in await town.events(id) if isinstance(one, DeploymentWaiting)]
            assert any("master key" in wait for wait in waits)
            service.away = False
            await driven
            return await town.deployment(id)

        deployment = virtual_time.run(scene())

        assert deployment.failure is not None
        assert deployment.failure.code == code
        assert HIDDEN_AS in deployment.failure.message
        assert SENTINEL not in told(deployment)

    @pytest.mark.parametrize(
        ("behaviour", "step"),
        [
            (Behaviour(build_fails=True), "build"),
            (Behaviour(refused="push"), "push"),
            (Behaviour(comes_up_unhealthy=True, healthy_after_seconds=20), "verify"),
        ],
        ids=["build", "refusal", "release"],
    )
    def test_a_failure_is_told_without_words_when_its_time_is_over(self, behaviour: Behaviour, step: str) -> None:
        async def scene() -> Deployment:
            town, service, id = await self._queued(behaviour)
            driven = asyncio.create_task(drive(await town.claim(id), town.world()))
            await asyncio.sleep(15 if step == "verify" else 1)
            service.away = True
            async with asyncio.timeout(3_600):
                await driven
            assert SENTINEL not in (await town.build_logs.read(town.functions[0][0], id)).text
            return await town.deployment(id)

        deployment = virtual_time.run(scene())

        assert deployment.status == "failed"
        assert deployment.failure is not None
        assert (deployment.failure.code, deployment.failure.step) == ("step_timed_out", step)
        assert SENTINEL not in told(deployment)

    def test_a_build_that_succeeded_goes_on_in_the_end_and_its_log_says_what_is_missing(self) -> None:
        async def scene() -> tuple[Deployment, str]:
            town, service, id = await self._queued(Behaviour(build_seconds=5))
            service.away = True
            driven = asyncio.create_task(drive(await town.claim(id), town.world()))
            await asyncio.sleep(1_000)
            pushed = await town.deployment(id)
            service.away = False
            await driven
            return pushed, (await town.build_logs.read(town.functions[0][0], id)).text

        pushed, log = virtual_time.run(scene())

        assert pushed.build_succeeded
        assert "withheld" in log
        assert SENTINEL not in log

    def test_what_a_deployment_waits_for_is_withheld(self) -> None:
        async def scene() -> list[str]:
            town, service, id = await self._queued(Behaviour(), weather=Weather(throttled=1.0))
            driven = asyncio.create_task(drive(await town.claim(id), town.world()))
            service.away = True
            await asyncio.sleep(60)
            driven.cancel()
            return [one.message for one in await town.events(id) if isinstance(one, DeploymentWaiting)]

        waits = virtual_time.run(scene())

        assert waits
        assert set(waits) == {WITHHELD_FOR_NOW}

    def test_what_is_to_be_taken_away_is_taken_away(self) -> None:
        async def scene() -> Deployment:
            town, service, id = await self._queued(Behaviour(healthy_after_seconds=600, comes_up_unhealthy=True))
            driven = asyncio.create_task(drive(await town.claim(id), town.world()))
            await asyncio.sleep(20)
            service.away = True
            await town.cancel(id)
            async with asyncio.timeout(60):
                await driven
            assert town.cloud.made[id].remains(virtual_time.seconds()) == ()
            return await town.deployment(id)

        assert virtual_time.run(scene()).status == "canceled"

    async def _queued(self, behaviour: Behaviour, *, weather: Weather = FAIR) -> tuple[Town, MemoryKeyService, UUID]:
        service = MemoryKeyService()
        ring = KeyRing(MemoryWrappedKeys(virtual_time.now), current=service, kept_max=0)
        vault = SecretVault(MemorySecretStore(), ring=ring)
        stores = msgspec.structs.replace(stores_in_memory(virtual_time.now), secrets=vault, ring=ring)
        town = Town(weather=weather, stores=stores)
        await one_function(town)
        await town.set_secret(*town.functions[0], SENTINEL)
        id = await town.queue(behaviour=msgspec.structs.replace(behaviour, says=f" {SENTINEL}"))
        return town, service, id


class TestHideInExcerpt:
    @pytest.mark.parametrize("cut", range(1, len(SENTINEL)))
    def test_hides_what_was_cut_off_on_either_side(self, cut: int) -> None:
        beginning, end = SENTINEL[:cut], SENTINEL[cut:]
        text = f"{end} was the rest\nand it begins as {beginning}\nor, cut short, as {beginning}…"

        hidden = hide_in_excerpt(text, {"TOKEN": SENTINEL})

        assert len(end) < 4 or end not in hidden
        assert len(beginning) < 4 or beginning not in hidden

    def test_leaves_what_only_looks_a_little_alike(self) -> None:
        text = "sen\nold\na sentence about it\n"

        assert hide_in_excerpt(text, {"TOKEN": SENTINEL}) == text
