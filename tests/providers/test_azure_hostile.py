"""What is Azure's own where it is not well: two runners at once, and what breaks while a function is deployed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest
import pytest_asyncio

from providers.azure import look
from providers.azure.account import storage_of
from providers.azure.apps import App
from providers.azure.provider import AzureProvider
from providers.azure.release import Releases
from providers.azure.storage import Container
from providers.issuer import Issuer
from providers.provider import Order, ProviderBusy, ProviderRefused
from tests.emulators.azure.cloud import AzureCloud
from tests.emulators.azure.customer import ACCOUNT, REGISTRY
from tests.emulators.azure.faults import Fault
from tests.providers.grounds import (
    BROKEN,
    HELLO,
    Ground,
    applied,
    azure_place,
    built,
    deployed,
    gone_back,
    order,
    pinned,
    settled,
    sources,
    withdrawn,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Place(msgspec.Struct, frozen=True):
    """The subscription, the provider that meets it, and the issuer that its application trusts."""

    cloud: AzureCloud
    ground: Ground
    issuer: Issuer

    @property
    def provider(self) -> AzureProvider:
        assert isinstance(self.ground.provider, AzureProvider)
        return self.ground.provider

    def releases(self, wanted: Order) -> Releases:
        account, _, operations = self.provider.work(wanted)
        return Releases(account, Container(account, storage_of(wanted)), operations, wanted)

    async def seen(self, releases: Releases) -> App:
        found = await releases._apps.app()
        assert found is not None
        return found

    async def is_serving(self, wanted: Order) -> bool:
        return (await settled(self.provider, wanted)).serving


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    async with azure_place(tmp_path_factory.mktemp("azure")) as found:
        yield Place(*found)


class TestARunnerThatStoodStill:
    async def test_changes_nothing_of_a_later_release_and_takes_nothing_from_it(self, place: Place) -> None:
        """*Method:* the older runner goes on, with each call that it may have been about to send, from the look that it
        took before the later release."""
        provider, first = place.provider, order(ground=place.ground)
        await applied(provider, first, sources(HELLO))
        image = pinned(await provider.push(first))
        releases = place.releases(first)
        seen = await place.seen(releases)
        await provider.promote(first)
        second = gone_back(order(ground=place.ground, number=2, function_id=first.release.function_id), image)
        await provider.apply(second)
        await settled(provider, second)
        await provider.promote(second)
        body = await releases._specification.more(await provider.push(first), seen, {})

        for send in (
            lambda: releases._led(seen),
            lambda: releases._apps.change(body, seen=seen),
            lambda: releases._apps.make(body),
            lambda: releases._apps.remove(seen=seen),
        ):
            with pytest.raises(ProviderBusy):
                await send()

        assert await place.is_serving(second)
        for wanted in (first, second):
            await withdrawn(provider, wanted)
        assert place.cloud.remains() == []

    async def test_sends_nothing_on_a_look_that_took_too_long(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        provider, wanted = place.provider, order(ground=place.ground)
        await applied(provider, wanted, sources(HELLO))
        releases = place.releases(wanted)
        seen = await place.seen(releases)
        monkeypatch.setattr(look, "LOOK_SECONDS_MAX", 0.1)
        place.cloud.customer.faults.append(Fault("GET", "/containerApps/", seconds=0.2))

        with pytest.raises(ProviderBusy):
            await releases._led(seen)
        monkeypatch.undo()
        before = await place.is_serving(wanted)

        assert (before, (await provider.promote(wanted)).serving) == (False, True)
        await withdrawn(provider, wanted)


def _without_container(cloud: AzureCloud) -> None:
    cloud.customer.containers.clear()


def _without_role(cloud: AzureCloud) -> None:
    cloud.customer.take("Storage Blob Data Contributor")


def _closed(cloud: AzureCloud) -> None:
    cloud.customer.closed.add(ACCOUNT)


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        (_without_container, "AZURE_CONTAINER_NOT_FOUND"),
        (_without_role, "AZURE_BLOB_ROLE_MISSING"),
        (_closed, "AZURE_STORAGE_FIREWALL"),
    ],
)
async def test_a_storage_that_broke_after_it_was_checked_is_mended_by_what_the_deployment_says(
    place: Place, broken: Callable[[AzureCloud], None], code: str
) -> None:
    wanted = order(ground=place.ground)
    broken(place.cloud)

    with pytest.raises(ProviderRefused) as refused:
        await place.provider.bundle(wanted, sources(HELLO))
    place.cloud.shell.obey(refused.value.remedy)

    assert refused.value.code == code
    assert (await place.provider.bundle(wanted, sources(HELLO))).digest
    await withdrawn(place.provider, wanted)


async def test_a_build_that_failed_says_so_though_nobody_may_read_its_log(place: Place) -> None:
    wanted = order(ground=place.ground)
    place.cloud.customer.faults.append(Fault("POST", "/listLogSasUrl", 403, "AuthorizationFailed"))

    build = await built(place.provider, wanted, sources(BROKEN))

    assert build.status == "failed"
    assert "Its log cannot be read" in build.message
    await withdrawn(place.provider, wanted)


async def test_a_registry_that_is_closed_to_the_internet_says_so_and_how_it_is_opened(place: Place) -> None:
    wanted, provider = order(ground=place.ground), AzureProvider(place.issuer, place.cloud.azure.endpoints)
    place.cloud.customer.closed_registries.add(REGISTRY)

    with pytest.raises(ProviderRefused) as refused:
        await provider.observe(wanted)
    place.cloud.shell.obey(refused.value.remedy)

    assert refused.value.code == "AZURE_REGISTRY_FIREWALL"
    assert (await provider.observe(wanted)).image is None
    await provider.close()


async def test_each_right_that_lacks_in_a_deployment_is_given_by_what_is_said(place: Place) -> None:
    """*Method:* all of them are taken; every verb is repeated until it says no more, and each time its command is run."""
    wanted, provider, customer = order(ground=place.ground), place.provider, place.cloud.customer
    await provider.bundle(wanted, sources(HELLO))
    lacking = ("Container Registry Tasks Contributor", "Container Apps Contributor", "Managed Identity Operator")
    for role in (*lacking, "AcrPull"):
        customer.take(role)
    given: list[str] = []

    async def mended(verb: Callable[[Order], Awaitable[object]]) -> None:
        for _ in range(len(lacking) + 1):
            try:
                await verb(wanted)
            except ProviderRefused as refused:
                given.extend(role for role in lacking if role in refused.remedy)
                place.cloud.shell.obey(refused.remedy)
            else:
                return

    await mended(provider.start_build)
    await built(provider, wanted, sources(HELLO))
    await provider.push(wanted)
    await mended(provider.apply)
    failed = await settled(provider, wanted)
    place.cloud.shell.obey(failed.remedy)
    await withdrawn(provider, wanted)
    again = order(ground=place.ground)
    served = await deployed(provider, again, sources(HELLO))
    await withdrawn(provider, again)

    assert given == [*lacking]
    assert failed.status == "unhealthy"
    assert served.serving
