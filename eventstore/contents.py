"""The bytes of uploaded files, kept once for each tenant under their digest."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

from eventstore.database import Database

# Bytes that were put again are young again only once an hour.
SWEEP_SECONDS_MIN = 2 * 3600.0
_DIGEST_PREFIX = "sha256:"


class Contents(Protocol):
    """A content-addressed store. Digests are `sha256:` and 64 hexadecimal digits, computed by whoever puts."""

    async def put(self, tenant_id: UUID, digest: str, content: bytes) -> None:
        """Keep the bytes, durably, before returning. Putting the same bytes again only makes them young again."""
        ...

    async def get(self, tenant_id: UUID, digest: str) -> bytes | None:
        """The tenant's bytes of that digest; None when it has none."""
        ...

    async def sweep(self, tenant_id: UUID, keep: Collection[str], *, older_than_seconds: float, limit: int) -> int:
        """Remove bytes of other digests that were put longer ago than that, and than SWEEP_SECONDS_MIN; how many, at most `limit`."""
        ...


class PostgresContents:
    """The store in PostgreSQL; each call is one round trip under row-level security."""

    def __init__(self, database: Database) -> None:
        self._database = database

    _PUT = "SELECT work.put_content($1, $2, $3)"

    async def put(self, tenant_id: UUID, digest: str, content: bytes) -> None:
        await self._database.execute(self._PUT, tenant_id, _key(digest), content)

    _GET = "SELECT work.get_content($1, $2)"

    async def get(self, tenant_id: UUID, digest: str) -> bytes | None:
        content: bytes | None = await self._database.fetchval(self._GET, tenant_id, _key(digest))
        return content

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

    async def put(self, tenant_id: UUID, digest: str, content: bytes) -> None:
        self._kept.setdefault((tenant_id, _key(digest)), content)
        self._put_at[tenant_id, _key(digest)] = self._clock()

    async def get(self, tenant_id: UUID, digest: str) -> bytes | None:
        return self._kept.get((tenant_id, _key(digest)))

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
