"""What every store of contents promises."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from eventstore.contents import PIECE_BYTES, ROW_BYTES, SWEEP_SECONDS_MIN, Contents, MemoryContents, PostgresContents
from eventstore.database import Pool, Row, connect
from eventstore.session import LOST
from tests.support import a
from tests.support.kept import bytes_of, put_bytes


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
        await put_bytes(self.contents, a.TENANT_ID, digest, content)
        return digest

    async def sweep(self, *keep: str, limit: int = 10) -> int:
        return await self.contents.sweep(a.TENANT_ID, keep, older_than_seconds=SWEEP_SECONDS_MIN, limit=limit)


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _long(size_bytes: int) -> bytes:
    """No two pieces of it are alike."""
    return b"".join(b"%09d\n" % number for number in range(size_bytes // 10 + 1))[:size_bytes]


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

        assert await bytes_of(shelf.contents, a.TENANT_ID, digest) == b"one"
        assert await bytes_of(shelf.contents, a.OTHER_TENANT_ID, digest) is None

    async def test_refuses_what_is_no_digest(self, shelf: Shelf) -> None:
        with pytest.raises(ValueError, match="not a digest"):
            await bytes_of(shelf.contents, a.TENANT_ID, "md5:00")

    @pytest.mark.parametrize("more", [-1, 0, 1, PIECE_BYTES, 2 * PIECE_BYTES + 7])
    async def test_keeps_bytes_of_any_size(self, shelf: Shelf, more: int) -> None:
        content = _long(PIECE_BYTES + more)

        digest = await shelf.put(content)
        await shelf.put(content)

        assert await bytes_of(shelf.contents, a.TENANT_ID, digest) == content
        assert await bytes_of(shelf.contents, a.OTHER_TENANT_ID, digest) is None


class Ending:
    """A database whose session is ended from the other side while a second row is read."""

    def __init__(self, database: Pool, other: asyncpg.Connection) -> None:
        self._database, self._other, self._reads = database, other, 0

    async def fetchrow(self, query: str, *args: Any) -> Row | None:
        self._reads += 1
        if self._reads != 2:
            return await self._database.fetchrow(query, *args)
        async with self._database.acquire() as connection:
            session = await connection.fetchval("SELECT pg_backend_pid()")
            await self._other.execute("SELECT pg_terminate_backend($1, 5000)", session)
            return await connection.fetchrow(query, *args)


class TestPieces:
    """What is larger than one, in PostgreSQL and as the API."""

    CONTENT = _long(3 * PIECE_BYTES + 1)
    DIGEST = digest_of(CONTENT)

    @pytest.fixture
    async def app(self, database_url: str) -> AsyncIterator[Pool]:
        async with connect(database_url, role="dcf_app", size_max=4) as pool:
            yield pool

    async def test_put_by_several_at_once_are_there_once(self, app: Pool, database: Pool) -> None:
        stores = [PostgresContents(app) for _ in range(4)]

        await asyncio.gather(*(put_bytes(store, a.TENANT_ID, self.DIGEST, self.CONTENT) for store in stores))

        assert await bytes_of(stores[0], a.TENANT_ID, self.DIGEST) == self.CONTENT
        assert await database.fetchval("SELECT count(*) FROM work.content_pieces") == 4

    async def test_are_all_there_or_none_is(self, app: Pool, database: Pool) -> None:
        class Broken(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                if self.tell() >= 2 * PIECE_BYTES:
                    raise OSError("the disk is gone")
                return super().read(size)

        store = PostgresContents(app)
        with pytest.raises(OSError, match="the disk is gone"):
            await store.put(a.TENANT_ID, self.DIGEST, Broken(self.CONTENT))

        assert await bytes_of(store, a.TENANT_ID, self.DIGEST) is None
        assert await database.fetchval("SELECT count(*) FROM work.content_pieces") == 0
        await put_bytes(store, a.TENANT_ID, self.DIGEST, self.CONTENT)
        assert await bytes_of(store, a.TENANT_ID, self.DIGEST) == self.CONTENT

    async def test_are_not_taken_for_the_whole_when_the_session_ends_between_them(
        self, app: Pool, database_url: str
    ) -> None:
        await put_bytes(PostgresContents(app), a.TENANT_ID, self.DIGEST, self.CONTENT)
        other = await asyncpg.connect(database_url)
        store = PostgresContents(Ending(app, other))  # type: ignore[arg-type]

        with pytest.raises(LOST):
            await bytes_of(store, a.TENANT_ID, self.DIGEST)
        await other.close()

        assert await bytes_of(PostgresContents(app), a.TENANT_ID, self.DIGEST) == self.CONTENT

    async def test_are_swept_with_what_they_belong_to(self, app: Pool, database: Pool) -> None:
        shelf = Shelf(PostgresContents(database), database)
        await put_bytes(PostgresContents(app), a.TENANT_ID, self.DIGEST, self.CONTENT)
        await shelf.pass_hours(3)

        assert await shelf.sweep() == 1
        assert await database.fetchval("SELECT count(*) FROM work.content_pieces") == 0

    async def test_are_one_to_code_from_before_and_its_row_is_read_as_well(self, app: Pool) -> None:
        """
        Goal: while a release is exchanged for the next, files put by either are read by both.
        Method: the calls that the code from before makes.
        """
        store, old = PostgresContents(app), _long(2 * ROW_BYTES + 1)
        await app.execute(PostgresContents._PUT, a.TENANT_ID, bytes.fromhex(digest_of(old)[7:]), old)
        await put_bytes(store, a.TENANT_ID, self.DIGEST, self.CONTENT)
        read = "SELECT work.get_content($1, $2)"

        assert await app.fetchval(read, a.TENANT_ID, bytes.fromhex(self.DIGEST[7:])) == self.CONTENT
        assert await app.fetchval(read, a.OTHER_TENANT_ID, bytes.fromhex(self.DIGEST[7:])) is None
        assert await bytes_of(store, a.TENANT_ID, digest_of(old)) == old


class TestSweep:
    async def test_removes_what_is_old_and_not_needed_in_steps(self, shelf: Shelf) -> None:
        kept = await shelf.put(b"needed")
        for number in range(3):
            await shelf.put(b"old %d" % number)
        await put_bytes(shelf.contents, a.OTHER_TENANT_ID, digest_of(b"theirs"), b"theirs")
        await shelf.pass_hours(3)
        young = await shelf.put(b"young")

        counts = [await shelf.sweep(kept, limit=2) for _ in range(3)]

        assert counts == [2, 1, 0]
        assert await bytes_of(shelf.contents, a.TENANT_ID, kept) == b"needed"
        assert await bytes_of(shelf.contents, a.TENANT_ID, young) == b"young"
        assert await bytes_of(shelf.contents, a.OTHER_TENANT_ID, digest_of(b"theirs")) == b"theirs"

    async def test_leaves_what_was_put_again(self, shelf: Shelf) -> None:
        digest = await shelf.put(b"again")
        await shelf.pass_hours(3)
        await shelf.put(b"again")

        assert await shelf.sweep() == 0
        assert await bytes_of(shelf.contents, a.TENANT_ID, digest) == b"again"
