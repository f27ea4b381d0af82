"""Files in a project's storage: one name for the same bytes, and none that is about to be taken away."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from domain.clouds import GcpIdentity, GcpStorage
from providers import files
from providers.provider import Place, ProviderBusy
from providers.simulated.made import FoundFile
from providers.simulated.provider import SimulatedProvider
from tests.providers.keeping import check_keeping

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONTENT = b"void main() {}\n"
DIGEST = files.digest_of(CONTENT)
PLACE = Place(
    tenant_id=UUID(int=1),
    project_id=UUID(int=2),
    identity=GcpIdentity(
        gcp_project_id="acme",
        service_account_email="d@acme.iam.gserviceaccount.com",
        workload_identity_project_number="1",
        workload_identity_pool="dcf",
        workload_identity_provider="dcf",
    ),
    storage=GcpStorage(bucket="acme"),
)
PLAIN = f"dcf/files/{UUID(int=1)}/{UUID(int=2)}/{DIGEST.removeprefix('sha256:')}"


@pytest.fixture
def cloud() -> SimulatedProvider:
    return SimulatedProvider(1, clock=lambda: 0.0, now=lambda: NOW)


async def _kept(cloud: SimulatedProvider, *, known_as: str = "", after: timedelta = timedelta(0)) -> str:
    return await files.keep(cloud, PLACE, DIGEST, io.BytesIO(CONTENT), known_as=known_as, now=NOW + after)


async def test_the_simulated_cloud_keeps_files_as_the_others_do() -> None:
    await check_keeping(SimulatedProvider(1, clock=lambda: 0.0), PLACE)


class TestKeep:
    async def test_finds_what_an_upload_left_that_was_not_recorded(self, cloud: SimulatedProvider) -> None:
        first = await _kept(cloud)

        assert await _kept(cloud, after=timedelta(hours=11)) == first == PLAIN
        assert len(cloud.files) == 1

    async def test_gives_what_is_old_and_named_by_nobody_another_name(self, cloud: SimulatedProvider) -> None:
        """It may be taken away at any moment, and what was just named must not be."""
        await _kept(cloud)

        again = await _kept(cloud, after=files.FRESH)

        assert again.startswith(f"{PLAIN}-")
        assert len(cloud.files) == 2

    async def test_finds_what_is_old_and_named(self, cloud: SimulatedProvider) -> None:
        name = await _kept(cloud)

        assert await _kept(cloud, known_as=name, after=timedelta(days=400)) == name
        assert len(cloud.files) == 1

    async def test_puts_what_was_damaged_or_taken_away_there_again(self, cloud: SimulatedProvider) -> None:
        name = await _kept(cloud)
        cloud.files[PLACE.storage, name] = FoundFile(content=b"damaged", at=NOW)
        beside = await _kept(cloud, known_as=name)
        del cloud.files[PLACE.storage, name]

        assert beside != name
        assert await _kept(cloud, known_as=name) == name

    async def test_never_overwrites(self, cloud: SimulatedProvider) -> None:
        theirs = FoundFile(content=b"theirs", at=NOW)
        cloud.files[PLACE.storage, PLAIN] = cloud.files[PLACE.storage, f"{PLAIN}-{int(NOW.timestamp())}"] = theirs

        with pytest.raises(ProviderBusy):
            await _kept(cloud)

        assert set(cloud.files.values()) == {theirs}


class TestFetch:
    @pytest.mark.parametrize("content", [None, b"void main() {};", CONTENT + b"\n"], ids=["gone", "changed", "longer"])
    async def test_refuses_what_was_not_uploaded(self, cloud: SimulatedProvider, content: bytes | None) -> None:
        if content is not None:
            cloud.files[PLACE.storage, PLAIN] = FoundFile(content=content, at=NOW)

        with pytest.raises(files.FileLost):
            await files.fetch(cloud, PLACE, PLAIN, DIGEST, io.BytesIO(), size_bytes=len(CONTENT))
