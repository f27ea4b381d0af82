"""A cluster of GKE in which releases are tried: what the tests of GKE share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from domain.release import PinnedImage
from process.secret import Secret
from providers.gcp.provider import GcpProvider
from providers.provider import NO_SECRETS, Order, ProviderBusy, ProviderRefused, Secrets, Service
from tests.emulators.gcp.cloud import GcpCloud
from tests.emulators.gcp.kubernetes import KubernetesApi
from tests.providers.grounds import PROBE, Ground, built, gke, order, settled, sources, until


class Place(msgspec.Struct, frozen=True):
    """A cluster, the provider that meets it, and an image that is there already."""

    ground: Ground
    image: PinnedImage
    package_of: Order

    @property
    def provider(self) -> GcpProvider:
        assert isinstance(self.ground.provider, GcpProvider)
        return self.ground.provider

    @property
    def cloud(self) -> GcpCloud:
        assert isinstance(self.ground.cloud, GcpCloud)
        return self.ground.cloud

    @property
    def cluster(self) -> KubernetesApi:
        return self.cloud.google.clusters.there[0]

    def order(self, number: int = 1, **changes: Any) -> Order:
        """To run the image as another deployment of the one function."""
        made = order(ground=self.ground, number=number, function_id=self.package_of.release.function_id, **changes)
        return msgspec.structs.replace(made, release=msgspec.structs.replace(made.release, image=self.image))

    async def apply(self, wanted: Order, secrets: Secrets = NO_SECRETS) -> None:
        """As a runner does it, which comes again where a load balancer is still being taken away."""

        async def attempt() -> bool:
            with suppress(ProviderBusy):
                await self.provider.apply(wanted, secrets)
                return True
            return False

        await until(attempt, bool)

    async def healthy(self, wanted: Order, secrets: dict[str, Secret] | None = None) -> Service:
        await self.apply(wanted, secrets or {})
        service = await settled(self.provider, wanted)
        assert service.status == "healthy", service.message
        return service

    async def refused(self, wanted: Order) -> ProviderRefused:
        """Why it is not taken."""
        with pytest.raises(ProviderRefused) as refusal:
            await self.provider.apply(wanted)
        return refusal.value

    async def served(self, wanted: Order, secrets: dict[str, Secret] | None = None) -> Service:
        await self.healthy(wanted, secrets)
        service = await self.provider.promote(wanted)
        assert service.serving, service
        return service


@asynccontextmanager
async def gke_place(folder: Path) -> AsyncIterator[Place]:
    """With the image built."""
    async with gke(folder) as ground:
        first = order(ground=ground)
        await built(ground.provider, first, sources(PROBE))
        image = await ground.provider.push(first)
        yield Place(ground, PinnedImage(reference=image.reference, digest=image.digest), first)
