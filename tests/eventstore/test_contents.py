"""What every store of contents promises."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from eventstore.contents import SWEEP_SECONDS_MIN, Contents, MemoryContents, PostgresContents
from eventstore.database import Pool
from tests.support import a


class Shelf:
    """A store, and a way to let time pass."""

    def __init__(self, contents: Contents, database: Pool | None) -> None:
        self.contents = contents
        self._database = database
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    async def pass_hours(self, hours: float) -> None:
        self.ahead += timedelta(hours=hours)
        if self._database is not None:
            await self._database.execute(
                "UPDATE work.contents SET stored_at = stored_at - $1::interval", timedelta(hours=hours)
            )

    async def put(self, content: bytes) -> str:
        digest = digest_of(content)
        await self.contents.put(a.TENANT_ID, digest, content)
        return digest

    async def sweep(self, *keep: str, limit: int = 10) -> int:
        return await self.contents.sweep(a.TENANT_ID, keep, older_than_seconds=SWEEP_SECONDS_MIN, limit=limit)


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture(params=["memory", "postgres"])
def shelf(request: pytest.FixtureRequest) -> Shelf:
    if request.param == "postgres":
        database: Pool = request.getfixturevalue("database")
        return Shelf(PostgresContents(database), database)
    shelf = Shelf(MemoryContents(), None)
    shelf.contents = MemoryContents(shelf.now)
    return shelf


class TestPut:
    async def test_keeps_bytes_once_for_each_tenant(self, shelf: Shelf) -> None:
        digest = await shelf.put(b"one")
        await shelf.put(b"one")

        assert await shelf.contents.get(a.TENANT_ID, digest) == b"one"
        assert await shelf.contents.get(a.OTHER_TENANT_ID, digest) is None

    async def test_refuses_what_is_no_digest(self, shelf: Shelf) -> None:
        with pytest.raises(ValueError, match="not a digest"):
            await shelf.contents.get(a.TENANT_ID, "md5:00")


class TestSweep:
    async def test_removes_what_is_old_and_not_needed_in_steps(self, shelf: Shelf) -> None:
        kept = await shelf.put(b"needed")
        for number in range(3):
            await shelf.put(b"old %d" % number)
        await shelf.contents.put(a.OTHER_TENANT_ID, digest_of(b"theirs"), b"theirs")
        await shelf.pass_hours(3)
        young = await shelf.put(b"young")

        counts = [await shelf.sweep(kept, limit=2) for _ in range(3)]

        assert counts == [2, 1, 0]
        assert await shelf.contents.get(a.TENANT_ID, kept) == b"needed"
        assert await shelf.contents.get(a.TENANT_ID, young) == b"young"
        assert await shelf.contents.get(a.OTHER_TENANT_ID, digest_of(b"theirs")) == b"theirs"

    async def test_leaves_what_was_put_again(self, shelf: Shelf) -> None:
        digest = await shelf.put(b"again")
        await shelf.pass_hours(3)
        await shelf.put(b"again")

        assert await shelf.sweep() == 0
        assert await shelf.contents.get(a.TENANT_ID, digest) == b"again"
