"""Azure as a provider."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import IO
from uuid import UUID

from domain.clouds import AzureIdentity, AzureResources, AzureStorage, Identity, Storage
from providers.archive import archive, source_of
from providers.azure import naming
from providers.azure.account import Account, identity_of, storage_of, target_of, told_apart
from providers.azure.build import Builds
from providers.azure.checks import BUSY, SPREADS_SECONDS, Checks
from providers.azure.identity import Tokens
from providers.azure.operation import Operations
from providers.azure.registry import Images, Passes
from providers.azure.release import Releases
from providers.azure.storage import Container, Staged
from providers.azure.wire import Wire
from providers.dockerfile import dart_version
from providers.issuer import TokenSource
from providers.provider import (
    FILE_MEDIA_TYPE,
    NO_SECRETS,
    Build,
    Bundle,
    FilePage,
    Finding,
    Image,
    LogChunk,
    Observation,
    Order,
    Place,
    ProviderRefused,
    Secrets,
    Service,
    Source,
)
from providers.spool import spool
from providers.together import together
from providers.walk import Walk


class AzureProvider:
    """The provider `azure`. `endpoints` is a URL with `{service}` in it, or None for Azure's own. Make one a process,
    close it at the end."""

    name = "azure"

    def __init__(self, source: TokenSource, endpoints: str | None = None) -> None:
        self._wire = Wire(endpoints)
        self._tokens = Tokens(self._wire, source)
        self._operations, self._passes = Operations(), Passes()

    async def close(self) -> None:
        """End the connections."""
        await self._wire.close()

    async def verify_identity(self, tenant_id: UUID, project_id: UUID, identity: Identity) -> Finding:
        """Our token, its exchange at Entra, and the subscription; nothing kept is believed."""
        walk = Walk(BUSY, spreads_seconds=SPREADS_SECONDS)
        await self._checks(tenant_id, project_id, identity).identity(walk)
        return walk.finding

    async def check_storage(self, tenant_id: UUID, project_id: UUID, identity: Identity, storage: Storage) -> Finding:
        """That the container is there, and what the application may do with it."""
        walk = Walk(BUSY, spreads_seconds=SPREADS_SECONDS)
        await self._checks(tenant_id, project_id, identity).bucket(walk, _container(storage))
        return walk.finding

    async def check_resources(
        self, tenant_id: UUID, project_id: UUID, identity: Identity, resources: AzureResources
    ) -> Finding:
        """Everything a deployment needs: whatever is wrong is named at once, but for what cannot be seen without the rest."""
        walk, checks = Walk(BUSY, spreads_seconds=SPREADS_SECONDS), self._checks(tenant_id, project_id, identity)
        await checks.identity(walk)
        await checks.resources(walk, resources)
        return walk.finding

    async def observe(self, order: Order) -> Observation:
        work = _Work(self, order)
        async with told_apart(work.account.identity):
            staged, run, image, service = await together(
                work.staged(), work.builds.find(order), work.images.find(), work.releases.shown()
            )
            # A run is a record that a registry never gives up: one that has ended, and whose sources were taken away,
            # is history.
            there = run is not None and (staged is not None or run.is_running)
            return Observation(
                bundle=staged.bundle if staged else None,
                build=await work.builds.shown(order, run, staged) if run is not None and there else None,
                image=image,
                service=service,
            )

    async def bundle(self, order: Order, sources: tuple[Source, ...]) -> Bundle:
        dart = dart_version(source_of(sources, "docker"), order.release.runtime)
        work = _Work(self, order)
        with spool() as packed:
            archive(sources, packed)
            async with told_apart(work.account.identity):
                await work.releases.require()
                staged = await work.container.stage(
                    naming.bundle_name(order), packed, deployment_id=str(order.deployment_id), dart=dart
                )
                return staged.bundle

    async def start_build(self, order: Order) -> Build:
        work = _Work(self, order)
        async with told_apart(work.account.identity):
            staged, run = await work.staged(), await work.builds.find(order)
            if staged is None:
                raise ProviderRefused("bundle_missing", "There is nothing to build.", "Deploy again.")
            return await work.builds.shown(order, run or await work.builds.start(order, staged), staged)

    async def stop_build(self, order: Order) -> None:
        work = _Work(self, order)
        async with told_apart(work.account.identity):
            await work.builds.stop(order)

    async def build_log(self, order: Order, cursor: int) -> LogChunk:
        work = _Work(self, order)
        async with told_apart(work.account.identity):
            run = await work.builds.find(order)
            if run is None:
                return LogChunk(text="", next_cursor=cursor)
            return await work.builds.log(order, run, cursor)

    async def push(self, order: Order) -> Image:
        """The run has pushed it already: this only finds it, once no other one can push over it any more."""
        work = _Work(self, order)
        async with told_apart(work.account.identity):
            await work.builds.stop(order)
            return await work.built()

    async def apply(self, order: Order, secrets: Secrets = NO_SECRETS) -> Service:
        work = _Work(self, order)
        async with told_apart(work.account.identity):
            return await work.releases.apply(await work.image(), secrets)

    async def promote(self, order: Order) -> Service:
        work = _Work(self, order)
        async with told_apart(work.account.identity):
            return await work.releases.promote()

    async def withdraw(self, order: Order) -> tuple[str, ...]:
        work = _Work(self, order)
        async with told_apart(work.account.identity):
            await work.builds.stop(order)
            await work.builds.forget(order)
            remaining = await work.releases.withdraw()
            if not remaining:  # What still runs needs its image.
                await work.images.remove()
            names = await work.container.left(naming.folder(order))
            await together(*(work.container.remove(name) for name in names))
            return remaining

    async def put_file(self, place: Place, name: str, content: IO[bytes]) -> bool:
        async with self._storage(place) as container:
            return await container.put_new(name, content, {}, FILE_MEDIA_TYPE)

    async def read_file(self, place: Place, name: str, into: IO[bytes], *, bytes_max: int) -> datetime | None:
        async with self._storage(place) as container:
            return await container.read_into(name, into, bytes_max=bytes_max)

    async def list_files(self, place: Place, folder: str, cursor: str = "") -> FilePage:
        async with self._storage(place) as container:
            return await container.page(folder, cursor)

    async def remove_file(self, place: Place, name: str) -> None:
        async with self._storage(place) as container:
            await container.remove(name)

    @asynccontextmanager
    async def _storage(self, place: Place) -> AsyncIterator[Container]:
        identity = _identity(place.identity)
        async with told_apart(identity):
            yield Container(self.account(place.tenant_id, place.project_id, identity), _container(place.storage))

    def account(self, tenant_id: UUID, project_id: UUID, identity: AzureIdentity) -> Account:
        return Account(self._wire, self._tokens, tenant_id, project_id, identity)

    def work(self, order: Order) -> tuple[Account, Passes, Operations]:
        account = self.account(order.tenant_id, order.project_id, identity_of(order))
        return account, self._passes, self._operations

    def _checks(self, tenant_id: UUID, project_id: UUID, identity: Identity) -> Checks:
        return Checks(self.account(tenant_id, project_id, _identity(identity)), self._tokens)


class _Work:
    """What one verb works with."""

    def __init__(self, provider: AzureProvider, order: Order) -> None:
        target_of(order)
        self._order = order
        self.account, passes, operations = provider.work(order)
        self.container = Container(self.account, storage_of(order))
        self.builds = Builds(self.account, self.container)
        self.images = Images(self.account, passes, order)
        self.releases = Releases(self.account, self.container, operations, order)

    async def staged(self) -> Staged | None:
        return await self.container.staged(naming.bundle_name(self._order))

    async def built(self) -> Image:
        image = await self.images.find()
        if image is None:
            raise ProviderRefused("image_missing", "The build left no image in the registry.", "Deploy again.")
        return image

    async def image(self) -> Image:
        """What was built, or the image the release pins, which is then kept for this deployment too."""
        pinned = self._order.release.image
        if pinned is None:
            return await self.built()
        if not await self.images.keeps(pinned.digest):
            raise ProviderRefused(
                "image_missing", "The image is no longer in the registry.", "Deploy from the sources."
            )
        return await self.images.name(pinned.digest)


def _identity(identity: Identity) -> AzureIdentity:
    if not isinstance(identity, AzureIdentity):
        raise ProviderRefused("provider_mismatch", "This is no identity of Azure.", "Connect it again.")
    return identity


def _container(storage: Storage) -> AzureStorage:
    if not isinstance(storage, AzureStorage):
        raise ProviderRefused("provider_mismatch", "This is no container of Azure.", "Check and save one.")
    return storage
