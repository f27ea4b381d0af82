"""The bytes of uploaded files, kept once for each tenant under their digest."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from eventstore.database import Database

_DIGEST_PREFIX = "sha256:"


class Contents(Protocol):
    """A content-addressed store. Digests are `sha256:` and 64 hexadecimal digits, computed by whoever puts."""

    async def put(self, tenant_id: UUID, digest: str, content: bytes) -> None:
        """Keep the bytes, durably, before returning. Putting the same bytes again changes nothing."""
        ...

    async def get(self, tenant_id: UUID, digest: str) -> bytes | None:
        """The tenant's bytes of that digest; None when it has none."""
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


class MemoryContents:
    """The store as long as its process lives."""

    def __init__(self) -> None:
        self._kept: dict[tuple[UUID, bytes], bytes] = {}

    async def put(self, tenant_id: UUID, digest: str, content: bytes) -> None:
        self._kept.setdefault((tenant_id, _key(digest)), content)

    async def get(self, tenant_id: UUID, digest: str) -> bytes | None:
        return self._kept.get((tenant_id, _key(digest)))


def _key(digest: str) -> bytes:
    """The digest's 32 bytes. Raises ValueError for anything else."""
    if not digest.startswith(_DIGEST_PREFIX):
        raise ValueError(f"not a digest: {digest[:20]!r}")
    return bytes.fromhex(digest.removeprefix(_DIGEST_PREFIX))
