"""The bytes of uploaded files, kept once for each tenant under their digest."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import IO, Protocol
from uuid import UUID

from eventstore.database import Database

# Bytes that were put again are young again only once an hour.
SWEEP_SECONDS_MIN = 2 * 3600.0
# So much of a file is held at a time; what is no larger has one row.
PIECE_BYTES = 256 * 1024
# So much of what lies in one row and is larger, from before there were pieces: whatever is read of it is unpacked from its
# beginning, so the more pieces the longer.
ROW_BYTES = 4 * 1024 * 1024
_DIGEST_PREFIX = "sha256:"


class Contents(Protocol):
    """A content-addressed store. Digests are `sha256:` and 64 hexadecimal digits, computed by whoever puts."""

    async def put(self, tenant_id: UUID, digest: str, content: IO[bytes]) -> None:
        """Keep the bytes, all of them and durably, before returning. Putting the same again only makes them young again."""
        ...

    async def read_into(self, tenant_id: UUID, digest: str, into: IO[bytes]) -> bool:
        """Write down the tenant's bytes of that digest, a piece at a time. False: it has none, or has them no more."""
        ...

    async def sweep(self, tenant_id: UUID, keep: Collection[str], *, older_than_seconds: float, limit: int) -> int:
        """Remove bytes of other digests that were put longer ago than that, and than SWEEP_SECONDS_MIN; how many, at most `limit`."""
        ...


class PostgresContents:
    """The store in PostgreSQL, under row-level security; for what has one row each call is one round trip."""

    def __init__(self, database: Database) -> None:
        self._database = database

    _PUT = "SELECT work.put_content($1, $2, $3)"

    async def put(self, tenant_id: UUID, digest: str, content: IO[bytes]) -> None:
        content.seek(0)
        first = content.read(PIECE_BYTES + 1)
        if len(first) > PIECE_BYTES:
            del first
            await self._put_in_pieces(tenant_id, _key(digest), content)
        else:
            await self._database.execute(self._PUT, tenant_id, _key(digest), first)

    _BEGIN = "SELECT work.begin_content($1, $2)"
    _ADD = "SELECT work.add_content_piece($1, $2, $3, $4)"

    async def _put_in_pieces(self, tenant_id: UUID, key: bytes, content: IO[bytes]) -> None:
        """In one transaction: nobody finds them before they are whole, and whoever puts the same waits for it."""
        async with self._database.transaction() as connection:
            if not await connection.fetchval(self._BEGIN, tenant_id, key):
                return
            at = 0
            content.seek(at)
            while piece := content.read(PIECE_BYTES):
                await connection.execute(self._ADD, tenant_id, key, at, piece)
                at += len(piece)

    _PIECE = "SELECT bytes, goes_on FROM work.content_piece($1, $2, $3, $4)"

    async def read_into(self, tenant_id: UUID, digest: str, into: IO[bytes]) -> bool:
        at, goes_on = 0, True
        while goes_on:
            found = await self._database.fetchrow(self._PIECE, tenant_id, _key(digest), at, ROW_BYTES)
            if found is None:
                return False
            into.write(found["bytes"])
            at, goes_on = at + len(found["bytes"]), found["goes_on"]
        return True

    _SWEEP = """
          WITH old AS (
               SELECT c.tenant_id, c.digest
                 FROM work.contents c
                WHERE c.tenant_id = $1 AND c.stored_at < clock_timestamp() - $3::interval
                  AND NOT EXISTS (SELECT FROM unnest($2::bytea[]) k (digest) WHERE k.digest = c.digest)
                LIMIT $4),
               gone AS (
               DELETE FROM work.contents c USING old o
                WHERE c.tenant_id = o.tenant_id AND c.digest = o.digest
                  AND c.stored_at < clock_timestamp() - $3::interval
               RETURNING 1)
        SELECT count(*) FROM gone
    """

    async def sweep(self, tenant_id: UUID, keep: Collection[str], *, older_than_seconds: float, limit: int) -> int:
        span = timedelta(seconds=max(older_than_seconds, SWEEP_SECONDS_MIN))
        count: int = await self._database.fetchval(self._SWEEP, tenant_id, [_key(one) for one in keep], span, limit)
        return count


class MemoryContents:
    """The store as long as its process lives, under a clock of the caller's."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._kept: dict[tuple[UUID, bytes], bytes] = {}
        self._put_at: dict[tuple[UUID, bytes], datetime] = {}

    async def put(self, tenant_id: UUID, digest: str, content: IO[bytes]) -> None:
        content.seek(0)
        self._kept.setdefault((tenant_id, _key(digest)), content.read())
        self._put_at[tenant_id, _key(digest)] = self._clock()

    async def read_into(self, tenant_id: UUID, digest: str, into: IO[bytes]) -> bool:
        content = self._kept.get((tenant_id, _key(digest)))
        if content is None:
            return False
        into.write(content)
        return True

    async def sweep(self, tenant_id: UUID, keep: Collection[str], *, older_than_seconds: float, limit: int) -> int:
        before = self._clock() - timedelta(seconds=max(older_than_seconds, SWEEP_SECONDS_MIN))
        kept = {(tenant_id, _key(one)) for one in keep}
        old = [key for key, at in self._put_at.items() if key[0] == tenant_id and at < before and key not in kept]
        for key in old[:limit]:
            del self._kept[key], self._put_at[key]
        return len(old[:limit])


def _key(digest: str) -> bytes:
    """The digest's 32 bytes. Raises ValueError for anything else."""
    if not digest.startswith(_DIGEST_PREFIX):
        raise ValueError(f"not a digest: {digest[:20]!r}")
    return bytes.fromhex(digest.removeprefix(_DIGEST_PREFIX))
