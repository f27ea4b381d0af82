"""Sources that lie in a storage of the project's: read from there for a deployment anywhere, and swept with it."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import datetime, timedelta
from typing import IO
from uuid import UUID

import asyncpg
import msgspec
import pytest

from commands.basis import fold
from domain.artifact import ARTIFACT, ArtifactOutOfReach, ArtifactStaged, Kept, artifact_id
from domain.clouds import GcpStorage, Storage
from domain.event import Fact
from domain.function import ArtifactFiles
from domain.integration import (
    INTEGRATION,
    FormerStorage,
    Integration,
    IntegrationConnected,
    IntegrationDisconnected,
    StorageConfigured,
    integration_id,
)
from eventstore.contents import MemoryContents
from providers import files
from providers.provider import FilePage, Place, ProviderRefused, ProviderUnreachable
from providers.simulated.made import FoundFile
from providers.simulated.provider import SimulatedProvider
from providers.simulated.weather import STORMY
from runner.composition import stores_in_memory
from tests.providers.test_files import PLACE
from tests.runner.test_loop import Working
from tests.runner.town import Town
from tests.support import a, virtual_time

DAY = 24 * 3600.0
CONTENT = b"void main() {} // kept in the bucket\n"
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
BUCKET = GcpStorage(bucket="acme")


async def _town() -> tuple[Town, UUID, SimulatedProvider, str]:
    """A project whose files are kept in Google Cloud, and the name of one that is."""
    town = Town()
    await town.found(artifact_retention_days=30)
    tenant_id = await town.settle()
    google = SimulatedProvider(2, clock=virtual_time.seconds, now=virtual_time.now, weather=STORMY)
    town.providers["gcp"] = google
    stream = INTEGRATION.stream(tenant_id, integration_id(a.PROJECT_ID, "gcp"))
    connected = IntegrationConnected(project_id=a.PROJECT_ID, provider="gcp", identity=PLACE.identity)
    await town.record(Fact(stream, connected), Fact(stream, StorageConfigured(storage=BUCKET)))
    name = files.folder(tenant_id, a.PROJECT_ID) + DIGEST.removeprefix("sha256:")
    google.files[BUCKET, name] = FoundFile(content=CONTENT, at=virtual_time.now())
    staged = ArtifactStaged(
        project_id=a.PROJECT_ID,
        kind="code",
        file_name="main.dart",
        digest=DIGEST,
        size_bytes=len(CONTENT),
        provider="gcp",
        kept=Kept(storage=BUCKET, name=name),
    )
    await town.record(Fact(ARTIFACT.stream(tenant_id, _CODE), staged))
    return town, tenant_id, google, name


_CODE = artifact_id(a.PROJECT_ID, "code", "main.dart", DIGEST)
_FILES = ArtifactFiles(code_file=_CODE)


async def _disconnect(town: Town, tenant_id: UUID) -> None:
    stream = INTEGRATION.stream(tenant_id, integration_id(a.PROJECT_ID, "gcp"))
    await town.record(Fact(stream, IntegrationDisconnected()))


async def _failure(town: Town) -> str:
    """How a deployment of the file to this machine ended: the code of its failure, or none."""
    deployment_id = await town.queue(files=_FILES)
    async with Working(town.runner()):
        assert await town.settled(seconds_max=DAY)
    failure = (await town.deployment(deployment_id)).failure
    return failure.code if failure else ""


def test_are_copied_to_another_provider_that_deploys_them_however_the_storage_fails() -> None:
    async def scene() -> None:
        town, _, google, _ = await _town()

        assert await _failure(town) == ""
        [code] = {one.content for one in google.files.values()}
        assert code == CONTENT

    virtual_time.run(scene())


@pytest.mark.parametrize("content", [None, b"another\n"], ids=["gone", "changed"])
def test_that_are_not_what_was_uploaded_fail_the_deployment(content: bytes | None) -> None:
    async def scene() -> None:
        town, _, google, name = await _town()
        del google.files[BUCKET, name]
        if content is not None:
            google.files[BUCKET, name] = FoundFile(content=content, at=virtual_time.now())

        assert await _failure(town) == "artifact_lost"

    virtual_time.run(scene())


class Cutting(SimulatedProvider):
    """One whose answers are cut off in their midst, some times."""

    cuts = 3

    async def read_file(self, place: Place, name: str, into: IO[bytes], *, bytes_max: int) -> datetime | None:
        if not self.cuts:
            return await super().read_file(place, name, into, bytes_max=bytes_max)
        self.cuts -= 1
        into.write(CONTENT[: len(CONTENT) // 2])
        raise ProviderUnreachable("The connection was closed.")


def test_are_read_again_when_an_answer_is_cut_off_and_the_deployment_goes_on() -> None:
    async def scene() -> None:
        town, _, google, _ = await _town()
        cutting = Cutting(2, clock=virtual_time.seconds, now=virtual_time.now)
        cutting.files.update(google.files)
        town.providers["gcp"] = cutting

        assert await _failure(town) == ""
        assert cutting.cuts == 0

    virtual_time.run(scene())


class Lapsing(MemoryContents):
    """The service's own store, whose database goes away in the midst of a file, some times."""

    lapses = 3

    async def read_into(self, tenant_id: UUID, digest: str, into: IO[bytes]) -> bool:
        if not self.lapses:
            return await super().read_into(tenant_id, digest, into)
        self.lapses -= 1
        into.write(b"void")
        raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")


def test_of_the_services_own_store_are_read_again_when_it_goes_away_meanwhile() -> None:
    async def scene() -> None:
        lapsing = Lapsing(virtual_time.now)
        town = Town(stores=msgspec.structs.replace(stores_in_memory(virtual_time.now), contents=lapsing))
        await town.found()
        await town.settle()
        deployment_id = await town.queue()
        async with Working(town.runner()):
            assert await town.settled(seconds_max=DAY)

        assert (await town.deployment(deployment_id)).status == "succeeded"
        assert lapsing.lapses == 0

    virtual_time.run(scene())


def test_of_a_provider_that_was_disconnected_are_refused_before_and_after_queueing() -> None:
    async def scene() -> None:
        town, tenant_id, _, _ = await _town()
        queued = await town.queue(files=_FILES)
        await _disconnect(town, tenant_id)

        async with Working(town.runner()):
            assert await town.settled(seconds_max=DAY)
        failure = (await town.deployment(queued)).failure
        assert failure is not None
        assert failure.code == "artifact_out_of_reach"
        assert "pload" in failure.remedy
        with pytest.raises(ArtifactOutOfReach):
            await town.queue(files=_FILES)

    virtual_time.run(scene())


def test_that_nothing_names_leave_the_storage_a_day_later_and_others_stay() -> None:
    async def scene() -> None:
        town, tenant_id, google, name = await _town()
        google.weather = type(STORMY)()
        mine, theirs = files.folder(tenant_id, a.PROJECT_ID), files.folder(UUID(int=9), a.PROJECT_ID)
        old = virtual_time.now() - timedelta(days=2)
        for orphan in (f"{mine}orphan", f"{theirs}orphan", "something/else"):
            google.files[BUCKET, orphan] = FoundFile(content=b"", at=old)
        google.files[BUCKET, name] = FoundFile(content=CONTENT, at=old)
        google.files[BUCKET, f"{mine}young"] = FoundFile(content=b"", at=virtual_time.now())

        async with Working(town.runner()):
            await asyncio.sleep(60)
        first = {name for _, name in google.files}
        await asyncio.sleep(40 * DAY)
        for _ in range(2):  # A file goes a round after nothing names it any more.
            async with Working(town.runner()):
                await asyncio.sleep(60)

        assert first == {name, f"{mine}young", f"{theirs}orphan", "something/else"}
        assert {name for _, name in google.files} == {f"{theirs}orphan", "something/else"}

    virtual_time.run(scene())


class Closing(SimulatedProvider):
    """One that lets nobody into some buckets."""

    closed: frozenset[Storage] = frozenset()

    async def list_files(self, place: Place, folder: str, cursor: str = "") -> FilePage:
        if place.storage in self.closed:
            raise ProviderRefused("GCP_PERMISSION_DENIED", "You lack storage.objects.list.", "gcloud storage …")
        return await super().list_files(place, folder, cursor)


def test_in_a_storage_of_before_are_swept_as_well_until_none_is_left_and_what_is_in_the_way_is_shown() -> None:
    """
    Goal: a storage that was exchanged for another one is left empty, once its files are needed no more.
    Method: one file there is still named, one is not; first the storage lets nobody in, then it does, then all that is
    there is old.
    """

    async def scene() -> None:
        town, tenant_id, _, name = await _town()
        google = Closing(2, clock=virtual_time.seconds, now=virtual_time.now, weather=type(STORMY)())
        town.providers["gcp"] = google
        mine, old = files.folder(tenant_id, a.PROJECT_ID), virtual_time.now() - timedelta(days=2)
        google.files[BUCKET, name] = FoundFile(content=CONTENT, at=old)
        google.files[BUCKET, f"{mine}orphan"] = FoundFile(content=b"", at=old)
        stream = INTEGRATION.stream(tenant_id, integration_id(a.PROJECT_ID, "gcp"))
        await town.record(Fact(stream, StorageConfigured(storage=GcpStorage(bucket="other"))))

        async def former() -> tuple[FormerStorage, ...]:
            async with Working(town.runner()):
                await asyncio.sleep(60)
            state: Integration = await fold(town.log, INTEGRATION, stream)
            return state.former_storages

        google.closed = frozenset({BUCKET})
        refused = [await former() for _ in range(2)]
        google.closed = frozenset()
        swept = await former()
        there = set(google.files)
        await asyncio.sleep(40 * DAY)
        ended = [await former() for _ in range(3)]

        [shown] = refused[0]
        assert (shown.storage, shown.files, shown.code) == (BUCKET, None, "GCP_PERMISSION_DENIED")
        assert shown.message
        assert shown.remedy
        assert refused[1] == refused[0]
        assert swept == (FormerStorage(storage=BUCKET, files=1),)
        assert there == {(BUCKET, name)}
        assert ended[-1] == ()
        assert google.files == {}

    virtual_time.run(scene())
