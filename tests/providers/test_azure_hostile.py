"""What is Azure's own where two runners are at work at once: it takes no condition with a change of a container app."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from providers.azure import look
from providers.azure.account import storage_of
from providers.azure.apps import App
from providers.azure.provider import AzureProvider
from providers.azure.release import Releases
from providers.azure.storage import Container
from providers.provider import Order, ProviderBusy
from tests.emulators.azure.cloud import AzureCloud
from tests.emulators.azure.faults import Fault
from tests.providers.grounds import (
    HELLO,
    Ground,
    applied,
    azure_place,
    gone_back,
    order,
    pinned,
    settled,
    sources,
    withdrawn,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Place(msgspec.Struct, frozen=True):
    """The subscription, and the provider that meets it."""

    cloud: AzureCloud
    ground: Ground

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
    async with azure_place(tmp_path_factory.mktemp("azure")) as (cloud, ground, _):
        yield Place(cloud, ground)


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
