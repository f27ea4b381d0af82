"""AWS as a provider."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import IO
from uuid import UUID

from domain.clouds import AwsIdentity, AwsNamed, AwsStorage, Identity, Storage
from providers.archive import source_of, zipped
from providers.aws import naming
from providers.aws.account import Account, check_places, identity_of, storage_of, target_of, told_apart
from providers.aws.builds import Builds, LogPlaces
from providers.aws.checks import SPREADS_SECONDS, Checks
from providers.aws.identity import Roles
from providers.aws.images import Images
from providers.aws.release import Healthy, Releases
from providers.aws.storage import Bucket, Staged
from providers.aws.wire import Wire
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

BUSY = "AWS_PENDING"


class AwsProvider:
    """The provider `aws`. `endpoints` is a URL with `{service}` in it, or None for Amazon's own. Make one a process,
    close it at the end."""

    name = "aws"

    def __init__(self, source: TokenSource, endpoints: str | None = None) -> None:
        self._wire = Wire(endpoints)
        self._roles = Roles(self._wire, source)
        self._places, self._healthy = LogPlaces(), Healthy()

    async def close(self) -> None:
        """End the connections."""
        await self._wire.close()

    async def verify_identity(self, tenant_id: UUID, project_id: UUID, identity: Identity) -> Finding:
        """Our token, the role it becomes, and the region; nothing kept is believed."""
        return await self.verify_named(tenant_id, project_id, _role(identity), AwsNamed())

    async def verify_named(self, tenant_id: UUID, project_id: UUID, identity: AwsIdentity, named: AwsNamed) -> Finding:
        """The same, and what is named for deployments."""
        walk = Walk(BUSY, spreads_seconds=SPREADS_SECONDS)
        await Checks(self._account(tenant_id, project_id, identity), named).identity(walk)
        return walk.finding

    async def check_storage(self, tenant_id: UUID, project_id: UUID, identity: Identity, storage: Storage) -> Finding:
        """That the bucket is there, and that files can be put, read, listed and removed."""
        walk = Walk(BUSY, spreads_seconds=SPREADS_SECONDS)
        await Checks(self._account(tenant_id, project_id, _role(identity))).bucket(walk, _bucket(storage))
        return walk.finding

    async def observe(self, order: Order) -> Observation:
        work = self._work(order)
        async with told_apart(work.account.identity):
            staged, build, image, service = await together(
                work.staged(), work.builds.noted(), work.images.find(), work.releases.shown()
            )
            return Observation(
                bundle=staged.bundle if staged else None,
                build=await work.builds.shown(build, staged) if build else None,
                image=image,
                service=service,
            )

    async def bundle(self, order: Order, sources: tuple[Source, ...]) -> Bundle:
        dart = dart_version(source_of(sources, "docker"), order.release.runtime)
        check_places(order)
        work = self._work(order)
        work.releases.check()
        with spool() as packed:
            zipped(sources, packed)
            async with told_apart(work.account.identity):
                await work.releases.check_role()
                return (await work.bucket.stage(naming.bundle_name(order), packed, dart=dart)).bundle

    async def start_build(self, order: Order) -> Build:
        check_places(order)
        work = self._work(order)
        async with told_apart(work.account.identity):
            staged, build = await work.staged(), await work.builds.find()
            if staged is None:
                raise ProviderRefused("bundle_missing", "There is nothing to build.", "Deploy again.")
            if build is None:
                build = await work.builds.start(staged)
            else:
                await work.builds.note(build)
            return await work.builds.shown(build, staged)

    async def stop_build(self, order: Order) -> None:
        work = self._work(order)
        async with told_apart(work.account.identity):
            await work.stop_build()

    async def build_log(self, order: Order, cursor: int) -> LogChunk:
        work = self._work(order)
        async with told_apart(work.account.identity):
            build = await work.builds.noted()
            if build is None:
                return LogChunk(text="", next_cursor=cursor)
            return await work.builds.log(build, cursor)

    async def push(self, order: Order) -> Image:
        """The build has pushed it already: this only finds it."""
        work = self._work(order)
        async with told_apart(work.account.identity):
            return await work.built()

    async def apply(self, order: Order, secrets: Secrets = NO_SECRETS) -> Service:
        check_places(order)
        work = self._work(order)
        async with told_apart(work.account.identity):
            return await work.releases.apply(await work.image(), secrets)

    async def promote(self, order: Order) -> Service:
        work = self._work(order)
        async with told_apart(work.account.identity):
            return await work.releases.promote()

    async def withdraw(self, order: Order) -> tuple[str, ...]:
        work = self._work(order)
        async with told_apart(work.account.identity):
            await work.stop_build()
            remaining = await work.releases.withdraw()
            if not remaining:  # What still runs needs its image.
                remaining = await work.images.remove()
            await work.bucket.clear(naming.folder(order))
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
        role = _role(place.identity)
        async with told_apart(role):
            yield Bucket(self._account(place.tenant_id, place.project_id, role), _bucket(place.storage))

    def _work(self, order: Order) -> _Work:
        account = self._account(order.tenant_id, order.project_id, identity_of(order))
        return _Work(account, self._places, self._healthy, order)

    def _account(self, tenant_id: UUID, project_id: UUID, identity: AwsIdentity) -> Account:
        return Account(self._wire, self._roles, tenant_id, project_id, identity)


class _Work:
    """What one verb works with."""

    def __init__(self, account: Account, places: LogPlaces, healthy: Healthy, order: Order) -> None:
        target_of(order)
        self._order, self.account = order, account
        self.bucket = Bucket(account, storage_of(order))
        self.builds = Builds(account, self.bucket, places, order)
        self.images = Images(account, order)
        self.releases = Releases(account, healthy, order)

    async def staged(self) -> Staged | None:
        return await self.bucket.staged(naming.bundle_name(self._order))

    async def stop_build(self) -> None:
        """Only what was bundled can have been built."""
        if await self.staged() is None:
            return
        for build in await self.builds.running():
            await self.builds.stop(build)

    async def built(self) -> Image:
        image = await self.images.find()
        if image is None:
            raise ProviderRefused("image_missing", "The build left no image in the repository.", "Deploy again.")
        return image

    async def image(self) -> Image:
        """What was built, or the image the release pins, which is then kept for this deployment too."""
        pinned = self._order.release.image
        return await self.built() if pinned is None else await self.images.name(pinned.digest)


def _role(identity: Identity) -> AwsIdentity:
    if not isinstance(identity, AwsIdentity):
        raise ProviderRefused("provider_mismatch", "This is no role of AWS.", "Connect it again.")
    return identity


def _bucket(storage: Storage) -> AwsStorage:
    if not isinstance(storage, AwsStorage):
        raise ProviderRefused("provider_mismatch", "This is no bucket of AWS.", "Check and save one.")
    return storage
