"""What every provider promises, whichever cloud is behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
import pytest_asyncio

from domain.clouds import GcpTarget
from domain.release import PinnedImage, Trigger
from domain.trigger import OWN_SCHEDULER
from process.secret import Secret
from process.settings import Settings
from providers.catalogue import clouds
from providers.hiding import HIDDEN_AS
from providers.local.client import LocalProvider
from providers.provider import KeepsFiles, Observation, Order, Place, Provider, ProviderRefused
from providers.simulated.provider import SimulatedProvider
from runner.perform import observe
from runner.world import World
from tests.journeys.this_machine import ThisMachine
from tests.providers.grounds import (
    BROKEN,
    ENDS_AT_ONCE,
    GROUNDS,
    HELLO,
    PROBE,
    Ground,
    applied,
    built,
    deployed,
    gone_back,
    order,
    settled,
    sources,
    withdrawn,
)
from tests.providers.keeping import check_cuts, check_damage, check_keeping, check_large
from tests.providers.relay import relayed
from tests.runner.town import Town

pytestmark = pytest.mark.asyncio(loop_scope="module")

SENTINEL = "sentinel-5d20-never-to-be-told"


# What is its own of a cluster is tried in test_gcp_gke.py, and the whole way in the journey.
_PARAMS = [pytest.param(name, marks=pytest.mark.proof) if name == "gcp_gke" else name for name in GROUNDS]


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=_PARAMS)
async def ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    async with GROUNDS[request.param](tmp_path_factory.mktemp(request.param)) as ready:
        yield ready


async def test_every_provider_of_the_catalogue_is_tried(tmp_path: Path) -> None:
    catalogue = clouds(
        Settings(data_dir=tmp_path),
        public_url=lambda: "https://dcf.example",
        functions_url=lambda: "http://functions.example",
    )

    # Nobody deploys to the simulated one; what simulations prove holds for the others because it promises the same.
    assert {name.partition("_")[0] for name in GROUNDS} == catalogue.providers.keys() | {SimulatedProvider.name}
    assert all(name == provider.name for name, provider in catalogue.providers.items())


def _is_gke(ground: Ground) -> bool:
    return isinstance(ground.target, GcpTarget) and ground.target.runtime_target == "gke"


class TestVerifying:
    async def test_names_each_step_it_looked_at(self, ground: Ground) -> None:
        tenant, project = uuid4(), uuid4()

        identity = await ground.provider.verify_identity(tenant, project, ground.identity)
        storage = await ground.provider.check_storage(tenant, project, ground.identity, ground.storage)

        assert identity.status in ("verified", "pending")
        assert storage.status == "verified"
        assert all(step.name and step.message for step in (*identity.steps, *storage.steps))


def _keeper(ground: Ground) -> tuple[KeepsFiles, Place]:
    if not isinstance(ground.provider, KeepsFiles):
        pytest.skip("its storage is the service's own store")
    return ground.provider, Place(
        tenant_id=uuid4(), project_id=uuid4(), identity=ground.identity, storage=ground.storage
    )


async def test_keeps_files_apart_under_their_names_and_overwrites_none(ground: Ground) -> None:
    await check_keeping(*_keeper(ground))


async def test_hands_out_no_file_that_was_damaged(ground: Ground) -> None:
    await check_damage(*_keeper(ground))


async def test_holds_a_few_parts_of_a_large_file_at_a_time(ground: Ground) -> None:
    if isinstance(ground.provider, SimulatedProvider):
        pytest.skip("it is in memory altogether")
    await check_large(*_keeper(ground))


async def test_takes_no_file_for_whole_whose_answer_was_cut_off(ground: Ground) -> None:
    if ground.elsewhere is None:
        pytest.skip("it is on no wire")
    async with relayed(ground.endpoints) as (relay, endpoints):
        provider = ground.elsewhere(endpoints)
        await check_cuts(*_keeper(msgspec.structs.replace(ground, provider=provider)), relay)
        await provider.close()


class TestADeployment:
    async def test_goes_from_nothing_to_serving_and_back_and_every_verb_may_be_repeated(self, ground: Ground) -> None:
        """
        Goal: a runner that dies after any verb may call it again.
        Method: call each verb twice and compare; at the end nothing carries the deployment's id.
        """
        provider, wanted = ground.provider, order(ground=ground)
        assert await provider.observe(wanted) == Observation()

        assert await provider.bundle(wanted, sources(HELLO)) == await provider.bundle(wanted, sources(HELLO))
        build = await built(provider, wanted, sources(HELLO))
        assert build.status == "succeeded"
        assert build.toolchain is not None
        assert await provider.start_build(wanted) == build
        assert await provider.push(wanted) == await provider.push(wanted)

        assert {(await provider.apply(wanted)).revision, (await provider.apply(wanted)).revision} == {
            (await provider.push(wanted)).digest
        }
        candidate = await settled(provider, wanted)
        assert (candidate.status, candidate.serving) == ("healthy", False)

        serving = await provider.promote(wanted)
        assert serving == await provider.promote(wanted)
        assert serving.serving
        assert serving.url.startswith("http")

        await withdrawn(provider, wanted)
        assert await provider.observe(wanted) == Observation()
        assert await provider.withdraw(wanted) == ()

    async def test_replaces_the_one_before_it_and_is_never_replaced_by_an_earlier_one(self, ground: Ground) -> None:
        provider = ground.provider
        first = order(ground=ground, number=1)
        function = first.release.function_id
        early, late = (order(ground=ground, number=number, function_id=function) for number in (2, 3))
        await deployed(provider, first, sources(HELLO))

        await deployed(provider, late, sources(HELLO))
        assert (await settled(provider, first, "stopped")).serving is False
        assert (await settled(provider, late)).serving is True

        await applied(provider, early, sources(HELLO))
        with pytest.raises(ProviderRefused) as refusal:
            await provider.promote(early)
        assert refusal.value.code == "overtaken"
        assert (await settled(provider, late)).serving is True

        for wanted in (first, early, late):
            await withdrawn(provider, wanted)


class TestARollback:
    async def test_runs_what_an_earlier_deployment_built_and_outlives_it(self, ground: Ground) -> None:
        """
        Goal: going back needs no build, and taking the earlier deployment away takes nothing from the one that went back.
        Method: deploy twice, go back to the first image, withdraw both; then withdraw the last, and all is gone.
        """
        provider, first = ground.provider, order(ground=ground, number=1)
        function = first.release.function_id
        second = order(ground=ground, number=2, function_id=function)
        await deployed(provider, first, sources(HELLO))
        image = await provider.push(first)
        await deployed(provider, second, sources(PROBE))
        pinned = PinnedImage(reference=image.reference, digest=image.digest)
        back = gone_back(order(ground=ground, number=3, function_id=function), pinned)

        assert (await provider.apply(back)).revision == (await provider.apply(back)).revision == image.digest
        assert (await settled(provider, back)).status == "healthy"
        assert (await provider.promote(back)).serving
        assert (await provider.observe(back)).build is None
        await withdrawn(provider, first)
        await withdrawn(provider, second)

        assert (await settled(provider, back)).serving
        await withdrawn(provider, back)
        assert await provider.observe(back) == Observation()

    async def test_to_an_image_that_is_gone_is_refused(self, ground: Ground) -> None:
        nowhere = PinnedImage(reference="nowhere", digest="sha256:" + "0" * 64)
        back = gone_back(order(ground=ground), nowhere)

        with pytest.raises(ProviderRefused) as refusal:
            await ground.provider.apply(back)

        assert refusal.value.code == "image_missing"
        await withdrawn(ground.provider, back)


class TestASchedule:
    async def test_is_part_of_what_serves_and_a_release_without_one_takes_it_away(self, ground: Ground) -> None:
        """
        Goal: whoever dies while a release with a schedule is let serve may ask again, and nothing of it stays behind.
        Method: one release with a schedule, then one of another, then one with none; each is promoted twice.
        """
        if ground.provider.name in OWN_SCHEDULER:
            pytest.skip("functions are called by our own runners here, which is tried with them")
        provider, function = ground.provider, uuid4()
        crons = ("0 3 * * *", "30 4 * * 1-5")
        triggers = [Trigger(type="schedule", settings={"cron": cron, "timeZone": "Europe/Madrid"}) for cron in crons]
        first, second, third = (
            order(ground=ground, number=number, function_id=function, trigger=trigger)
            for number, trigger in enumerate((*triggers, Trigger()), 1)
        )
        await deployed(provider, first, sources(HELLO))
        image = await provider.push(first)
        pinned = PinnedImage(reference=image.reference, digest=image.digest)

        for wanted in (gone_back(second, pinned), gone_back(third, pinned)):
            await provider.apply(wanted)
            await settled(provider, wanted)
            serving = await provider.promote(wanted)
            assert serving == await provider.promote(wanted)
            assert serving.serving

        for wanted in (first, second, third):
            await withdrawn(provider, wanted)
            assert await provider.observe(wanted) == Observation()


class TestABuild:
    @pytest.fixture(autouse=True)
    def _once_a_builder(self, ground: Ground) -> None:
        if _is_gke(ground):
            pytest.skip("builds for GKE are those of Cloud Run, which are tried there")

    async def test_that_fails_says_what_the_compiler_said_and_so_does_its_log(self, ground: Ground) -> None:
        provider, wanted = ground.provider, order(ground=ground)

        build = await built(provider, wanted, sources(BROKEN))

        words = "main.dart:2:16: Error: A value of type 'String' can't be assigned to a variable of type 'int'."
        assert build.status == "failed"
        assert words in build.message
        assert build.remedy
        whole = await provider.build_log(wanted, 0)
        rest = await provider.build_log(wanted, 10)
        nothing = await provider.build_log(wanted, whole.next_cursor)
        assert words in whole.text
        assert whole.text.endswith(rest.text)
        assert (nothing.text, nothing.next_cursor) == ("", whole.next_cursor)
        await withdrawn(provider, wanted)

    async def test_can_be_stopped(self, ground: Ground) -> None:
        provider, wanted = ground.provider, order(ground=ground)

        with (ground.cloud or ThisMachine()).slowly() as code:
            await provider.bundle(wanted, sources(code))
            await provider.start_build(wanted)
            await provider.stop_build(wanted)
            await provider.stop_build(wanted)

        build = (await provider.observe(wanted)).build
        assert build is not None
        assert build.status == "stopped"
        await withdrawn(provider, wanted)

    async def test_refuses_sources_that_are_not_what_their_digest_says(self, ground: Ground) -> None:
        code, *_ = sources(HELLO)

        with pytest.raises(ProviderRefused) as refusal:
            await ground.provider.bundle(
                order(ground=ground),
                (msgspec.structs.replace(code, content=BytesIO(BROKEN)),),
            )

        assert refusal.value.code == "digest_differs"


async def _world_that_knows(wanted: Order, provider: Provider) -> World:
    """A runner's, whose vault keeps the order's secret."""
    town = Town()
    release = wanted.release
    for value_id in release.secret_values.values():
        await town.stores.secrets.close(wanted.tenant_id, release.function_id, value_id, Secret(SENTINEL))
    return msgspec.structs.replace(town.world(), providers={release.provider: provider})


class TestABadRelease:
    async def test_is_reported_with_its_last_words_and_the_old_one_goes_on(self, ground: Ground) -> None:
        provider = ground.provider
        good = order(ground=ground, number=1)
        bad = order(ground=ground, number=2, function_id=good.release.function_id, secret_values={"TOKEN": uuid4()})
        await deployed(provider, good, sources(HELLO))

        service = await applied(provider, bad, sources(ENDS_AT_ONCE), {"TOKEN": Secret(SENTINEL)})

        assert service.status == "unhealthy"
        assert "no reason to live" in service.message
        if not isinstance(provider, LocalProvider):  # Which hides it by itself.
            assert SENTINEL in service.message
        told = (await observe(bad, await _world_that_knows(bad, provider))).service
        assert told is not None
        assert f"no reason to live, nor for {HIDDEN_AS}" in told.message
        assert SENTINEL not in told.message
        with pytest.raises(ProviderRefused):
            await provider.promote(bad)
        assert (await settled(provider, good)).serving is True
        await withdrawn(provider, bad)
        await withdrawn(provider, good)
