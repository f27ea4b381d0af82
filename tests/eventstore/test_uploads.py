"""Uploads in pieces: nothing lost that was taken, nothing taken twice, whoever sends and however many processes listen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from eventstore.database import Pool, connect
from eventstore.uploads import MemoryUploads, NewUpload, PostgresUploads, Upload, Uploads
from tests.support import a
from tests.support.kept import bytes_received

PIECE = b"void main() {}\n"


def new(number: int = 1, **changes: Any) -> NewUpload:
    plain = NewUpload(
        tenant_id=a.TENANT_ID,
        upload_id=a.id_of(500 + number),
        project_id=a.PROJECT_ID,
        kind="code",
        provider=None,
        request_hash=b"hash",
        wanted_digest="",
        size_max=100,
        length=None,
    )
    return msgspec.structs.replace(plain, **changes)


@pytest.fixture
async def app(database_url: str) -> AsyncIterator[Pool]:
    """A pool that acts as the API."""
    async with connect(database_url, role="dcf_app", size_max=4) as pool:
        yield pool


@pytest.fixture(params=["memory", "postgres"])
def uploads(request: pytest.FixtureRequest) -> Uploads:
    if request.param == "memory":
        return MemoryUploads(lambda: datetime.now(UTC))
    return PostgresUploads(request.getfixturevalue("app"))


async def begun(uploads: Uploads, number: int = 1, *, seconds: int = 60, open_max: int = 10, **changes: Any) -> Upload:
    upload = await uploads.begin(new(number, **changes), seconds=seconds, open_max=open_max)
    assert upload is not None
    return upload


async def taken(uploads: Uploads, upload: Upload) -> Upload:
    found = await uploads.take(upload.tenant_id, upload.upload_id)
    assert found is not None
    return found


class TestUploads:
    async def test_keeps_pieces_in_order(self, uploads: Uploads) -> None:
        upload = await begun(uploads)

        assert await uploads.add(upload, 0, PIECE)
        assert await uploads.add(upload, len(PIECE), b"// more\n")

        now = await taken(uploads, upload)
        assert (now.received, now.is_complete, now.length) == (len(PIECE) + 8, False, None)
        assert await bytes_received(uploads, now) == PIECE + b"// more\n"
        assert timedelta(seconds=50) < now.expires_at - now.created_at < timedelta(seconds=70)

    async def test_are_read_a_piece_at_a_time_and_as_far_as_they_had_come(self, uploads: Uploads) -> None:
        upload = await begun(uploads)
        assert await bytes_received(uploads, upload) == b""

        assert await uploads.add(upload, 0, PIECE)
        now = await taken(uploads, upload)
        assert await uploads.add(now, len(PIECE), b"later")

        assert await bytes_received(uploads, now) == PIECE

    async def test_of_one_id_is_one(self, uploads: Uploads) -> None:
        upload = await begun(uploads)
        assert await uploads.add(upload, 0, PIECE)

        again = await begun(uploads, open_max=1, kind="yaml")

        assert (again.received, again.kind, again.request_hash) == (len(PIECE), "code", b"hash")

    async def test_takes_a_piece_only_where_the_last_one_ended(self, uploads: Uploads) -> None:
        upload = await begun(uploads)
        assert await uploads.add(upload, 0, PIECE)

        assert [await uploads.add(upload, at, b"x") for at in (0, 1, len(PIECE) - 1, len(PIECE) + 1)] == [False] * 4
        assert await bytes_received(uploads, await taken(uploads, upload)) == PIECE

    async def test_shuts_out_whoever_came_before(self, uploads: Uploads) -> None:
        """*Goal:* an offset that was told can be gone on from, whatever a request that hangs still delivers."""
        hanging = await begun(uploads)
        later = await taken(uploads, hanging)

        assert not await uploads.add(hanging, 0, b"late")
        assert await uploads.add(later, 0, PIECE)
        assert await bytes_received(uploads, await taken(uploads, later)) == PIECE

    async def test_takes_no_more_than_it_may(self, uploads: Uploads) -> None:
        upload = await begun(uploads, size_max=10)

        assert not await uploads.add(upload, 0, b"x" * 11)
        assert await uploads.add(upload, 0, b"x" * 10)
        assert not await uploads.add(upload, 10, b"x")

    async def test_takes_no_more_than_was_announced(self, uploads: Uploads) -> None:
        upload = await begun(uploads)

        assert await uploads.set_length(upload, 4)
        assert await uploads.set_length(upload, 4)
        assert not await uploads.set_length(upload, 5)
        assert not await uploads.add(upload, 0, b"five!")
        assert await uploads.add(upload, 0, b"four")

    async def test_is_complete_once_its_bytes_are_kept_elsewhere(self, uploads: Uploads) -> None:
        upload = await begun(uploads)
        await uploads.add(upload, 0, PIECE)

        await uploads.complete(upload, a.DIGEST)

        now = await taken(uploads, upload)
        assert (now.is_complete, now.digest, now.length) == (True, a.DIGEST, len(PIECE))
        assert await bytes_received(uploads, now) is None
        assert not await uploads.add(now, len(PIECE), b"x")

    async def test_of_a_tenant_are_so_many_at_once(self, uploads: Uploads) -> None:
        first = await begun(uploads, 1, open_max=2)
        await begun(uploads, 2, open_max=2)
        elsewhere = new(3, tenant_id=a.OTHER_TENANT_ID)

        assert await uploads.begin(new(3), seconds=60, open_max=2) is None
        assert await uploads.begin(elsewhere, seconds=60, open_max=2) is not None
        await uploads.complete(first, a.DIGEST)
        assert await uploads.begin(new(3), seconds=60, open_max=2) is not None

    async def test_is_gone_when_its_time_is_over_or_it_is_dropped(self, uploads: Uploads) -> None:
        over = await begun(uploads, 1, seconds=0)
        dropped = await begun(uploads, 2)
        assert await uploads.add(dropped, 0, PIECE)

        assert await uploads.drop(dropped.tenant_id, dropped.upload_id) is not None

        assert await uploads.take(over.tenant_id, over.upload_id) is None
        assert await uploads.take(dropped.tenant_id, dropped.upload_id) is None
        assert await uploads.drop(dropped.tenant_id, dropped.upload_id) is None
        assert not await uploads.add(dropped, len(PIECE), b"x")

    async def test_begins_anew_when_its_time_is_over(self, uploads: Uploads) -> None:
        await begun(uploads, seconds=0)

        again = await begun(uploads, kind="yaml")

        assert (again.kind, again.received) == ("yaml", 0)

    async def test_shuts_out_whoever_sends_to_an_earlier_one_of_its_id(self, uploads: Uploads) -> None:
        hanging = await begun(uploads)
        await uploads.drop(hanging.tenant_id, hanging.upload_id)

        again = await begun(uploads)

        assert not await uploads.add(hanging, 0, b"late")
        assert await uploads.add(again, 0, PIECE)

    async def test_is_nobody_elses(self, uploads: Uploads) -> None:
        upload = await begun(uploads)
        await uploads.add(upload, 0, PIECE)
        upload = await taken(uploads, upload)

        assert await uploads.take(a.OTHER_TENANT_ID, upload.upload_id) is None
        assert await uploads.drop(a.OTHER_TENANT_ID, upload.upload_id) is None
        stolen = msgspec.structs.replace(upload, tenant_id=a.OTHER_TENANT_ID)
        assert not await uploads.add(stolen, len(PIECE), b"x")
        assert await bytes_received(uploads, stolen) is None
        assert await bytes_received(uploads, upload) == PIECE


class TestManyProcesses:
    async def test_never_open_more_than_a_tenant_may(self, app: Pool) -> None:
        stores = [PostgresUploads(app) for _ in range(4)]

        found = await asyncio.gather(
            *(stores[n % 4].begin(new(n), seconds=60, open_max=5) for n in range(20)), return_exceptions=True
        )

        assert [isinstance(one, Upload) for one in found].count(True) == 5
        assert found.count(None) == 15

    async def test_that_send_one_piece_at_once_add_it_once(self, app: Pool) -> None:
        stores = [PostgresUploads(app) for _ in range(4)]
        upload = await begun(stores[0])

        added = await asyncio.gather(*(store.add(upload, 0, PIECE) for store in stores))

        assert added.count(True) == 1
        assert await bytes_received(stores[0], await taken(stores[0], upload)) == PIECE
