"""Google Cloud as a provider."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import IO
from uuid import UUID

from domain.clouds import GcpIdentity, GcpStorage, Identity, Storage
from providers.archive import archive, source_of
from providers.dockerfile import dart_version
from providers.gcp import naming
from providers.gcp.account import Account, bucket_of, identity_of, target_of, told_apart
from providers.gcp.build import Builds, CloudBuild
from providers.gcp.checks import BUSY, SPREADS_SECONDS, Checks
from providers.gcp.cluster import KnownClusters
from providers.gcp.gke import GkeReleases
from providers.gcp.identity import Tokens
from providers.gcp.registry import Images, image_gone
from providers.gcp.release import Releases
from providers.gcp.storage import Bucket, Staged
from providers.gcp.wire import Wire
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


class GcpProvider:
    """The provider `gcp`. `endpoints` is a URL with `{service}` in it. Make one a process, close it at the end."""

    name = "gcp"

    def __init__(self, source: TokenSource, endpoints: str) -> None:
        self._wire = Wire(endpoints)
        self._tokens = Tokens(self._wire, source)
        self.clusters = KnownClusters()

    async def close(self) -> None:
        """End the connections."""
        await self._wire.close()

    async def verify_identity(self, tenant_id: UUID, project_id: UUID, identity: Identity) -> Finding:
        """Our token, its exchange, and the service account's token; nothing cached is believed."""
        walk = Walk(BUSY, spreads_seconds=SPREADS_SECONDS)
        await self._checks(tenant_id, project_id, identity).identity(walk)
        return walk.finding

    async def check_storage(self, tenant_id: UUID, project_id: UUID, identity: Identity, storage: Storage) -> Finding:
        """That the bucket is there, and what the service account may do with it."""
        walk = Walk(BUSY, spreads_seconds=SPREADS_SECONDS)
        await self._checks(tenant_id, project_id, identity).bucket(walk, _bucket_name(storage))
        return walk.finding

    async def diagnose(self, tenant_id: UUID, project_id: UUID, identity: Identity, storage: Storage | None) -> Finding:
        """The whole chain that a deployment needs; the bucket only when there is one."""
        walk, checks = Walk(BUSY, spreads_seconds=SPREADS_SECONDS), self._checks(tenant_id, project_id, identity)
        await checks.identity(walk)
        if storage is not None:
            await checks.bucket(walk, _bucket_name(storage))
        await checks.deploying(walk)
        return walk.finding

    async def observe(self, order: Order) -> Observation:
        work = _Work(self, order)
        async with told_apart(work.account.identity):
            staged, build, image, service = await together(
                work.bucket.staged(naming.bundle_name(order)),
                work.builds.find(order),
                work.images.find(order),
                work.releases.shown(),
            )
            # A build is a record that Cloud Build never gives up: one that has ended, and whose sources were taken away,
            # is history.
            there = build is not None and (staged is not None or build.is_running)
            return Observation(
                bundle=staged.bundle if staged else None,
                build=await work.builds.shown(order, build, staged) if build is not None and there else None,
                image=image,
                service=service,
            )

    async def bundle(self, order: Order, sources: tuple[Source, ...]) -> Bundle:
        dart = dart_version(source_of(sources, "docker"), order.release.runtime)
        work = _Work(self, order)
        with spool() as packed:
            archive(sources, packed)
            async with told_apart(work.account.identity):
                await together(work.images.require(order), work.releases.require())
                staged = await work.bucket.stage(
                    naming.bundle_name(order), packed, deployment_id=str(order.deployment_id), dart=dart
                )
                return staged.bundle

    async def start_build(self, order: Order) -> Build:
        work = _Work(self, order)
        async with told_apart(work.account.identity):
            staged, build = await work.staged(), await work.builds.find(order)
            return await work.builds.shown(order, build or await work.builds.start(order, staged), staged)

    async def stop_build(self, order: Order) -> None:
        work = _Work(self, order)
        async with told_apart(work.account.identity):
            await work.stop_build(await work.builds.find(order))

    async def build_log(self, order: Order, cursor: int) -> LogChunk:
        work = _Work(self, order)
        async with told_apart(work.account.identity):
            build = await work.builds.find(order)
            if build is None:
                return LogChunk(text="", next_cursor=cursor)
            return await work.builds.log(order, build, cursor)

    async def push(self, order: Order) -> Image:
        """Cloud Build has pushed it already: this only finds it."""
        work = _Work(self, order)
        async with told_apart(work.account.identity):
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
            build = await work.builds.find(order)
            await work.stop_build(build)
            was_applied = await work.releases.shown() is not None
            remaining = await work.releases.withdraw()
            if not remaining:  # What still runs needs its image.
                await work.images.remove(order, work.digests(build))
                await work.releases.sweep(was_applied=was_applied)
            await together(*(work.bucket.remove(name) for name in await work.bucket.names(naming.folder(order))))
            return remaining

    async def put_file(self, place: Place, name: str, content: IO[bytes]) -> bool:
        async with self._storage(place) as bucket:
            return await bucket.put(name, content, {}, FILE_MEDIA_TYPE)

    async def read_file(self, place: Place, name: str, into: IO[bytes], *, bytes_max: int) -> datetime | None:
        async with self._storage(place) as bucket:
            return await bucket.read_into(name, into, bytes_max=bytes_max)

    async def list_files(self, place: Place, folder: str, cursor: str = "") -> FilePage:
        async with self._storage(place) as bucket:
            return await bucket.page(folder, cursor)

    async def remove_file(self, place: Place, name: str) -> None:
        async with self._storage(place) as bucket:
            await bucket.remove(name)

    @asynccontextmanager
    async def _storage(self, place: Place) -> AsyncIterator[Bucket]:
        identity = _identity(place.identity)
        async with told_apart(identity):
            yield Bucket(self.account(place.tenant_id, place.project_id, identity), _bucket_name(place.storage))

    def account(self, tenant_id: UUID, project_id: UUID, identity: GcpIdentity) -> Account:
        return Account(self._wire, self._tokens, tenant_id, project_id, identity)

    def _checks(self, tenant_id: UUID, project_id: UUID, identity: Identity) -> Checks:
        account = self.account(tenant_id, project_id, _identity(identity))
        return Checks(account, self._tokens, tenant_id, project_id)


class _Work:
    """What one verb works with."""

    def __init__(self, provider: GcpProvider, order: Order) -> None:
        self._order = order
        self.account = provider.account(order.tenant_id, order.project_id, identity_of(order))
        self.bucket = Bucket(self.account, bucket_of(order))
        self.builds = Builds(self.account, self.bucket)
        self.images = Images(self.account)
        on_gke = target_of(order).runtime_target == "gke"
        self.releases = GkeReleases(self.account, order, provider.clusters) if on_gke else Releases(self.account, order)

    async def staged(self) -> Staged:
        staged = await self.bucket.staged(naming.bundle_name(self._order))
        if staged is None:
            await self.bucket.require()
            raise ProviderRefused("bundle_missing", "There is nothing to build.", "Deploy again.")
        return staged

    async def stop_build(self, build: CloudBuild | None) -> None:
        if build is not None and build.is_running:
            await self.builds.stop(self._order, build)

    def digests(self, build: CloudBuild | None) -> set[str]:
        """Of the images that this deployment may have: what was built, and the one that the release pins."""
        pinned = self._order.release.image
        return {*(build.digests if build else ()), *((pinned.digest,) if pinned else ())}

    async def built(self) -> Image:
        image = await self.images.find(self._order)
        if image is None:
            await self.images.require(self._order)
            raise ProviderRefused("image_missing", "The build left no image in the registry.", "Deploy again.")
        return image

    async def image(self) -> Image:
        """What was built, or the image the release pins, which is then kept for this deployment too."""
        pinned = self._order.release.image
        if pinned is None:
            return await self.built()
        if not await self.images.keeps(self._order, pinned.digest):
            await self.images.require(self._order)
            raise image_gone()
        await self.images.name(self._order, pinned.digest)
        return Image(reference=pinned.reference, digest=pinned.digest)


def _identity(identity: Identity) -> GcpIdentity:
    if not isinstance(identity, GcpIdentity):
        raise ProviderRefused("provider_mismatch", "This is no identity of Google Cloud.", "Connect it again.")
    return identity


def _bucket_name(storage: Storage) -> str:
    if not isinstance(storage, GcpStorage):
        raise ProviderRefused("provider_mismatch", "This is no bucket of Google Cloud.", "Check and save one.")
    return storage.bucket
