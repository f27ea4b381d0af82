"""What builds say, in chunks as they come; of a log that grows too long the head and the tail are kept."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

import msgspec

from eventstore.database import Database

HEAD_BYTES_MAX = 128 * 1024
TAIL_BYTES_MAX = 384 * 1024
# One chunk is never longer; what is cut from its middle is named in its place.
CHUNK_CHARS_MAX = 64 * 1024


class BuildLog(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a log. `next_cursor` asks for what comes after it; `dropped_bytes` were left out of its middle."""

    text: str
    next_cursor: int
    dropped_bytes: int = 0


class Kept(msgspec.Struct, frozen=True):
    """A log that is kept, and when it was last written to."""

    tenant_id: UUID
    deployment_id: UUID
    written_at: datetime


class BuildLogs(Protocol):
    """The logs of all builds, one a deployment. A cursor is the provider's own, and rises."""

    async def append(self, tenant_id: UUID, deployment_id: UUID, text: str, *, cursor: int, next_cursor: int) -> None:
        """Add what was read from `cursor` up to `next_cursor`. Nothing changes when that was added before."""
        ...

    async def cursor(self, tenant_id: UUID, deployment_id: UUID) -> int:
        """Where to read on; 0 when nothing is kept yet."""
        ...

    async def read(self, tenant_id: UUID, deployment_id: UUID, *, after: int = 0) -> BuildLog:
        """What is kept beyond the cursor `after`, in order."""
        ...

    async def kept(self, *, after: tuple[UUID, UUID], limit: int) -> list[Kept]:
        """Logs in the order of their (tenant, deployment), beyond the one given; without those that have expired."""
        ...

    async def expire(self, tenant_id: UUID, deployment_id: UUID, note: str) -> None:
        """Forget what the build said. Whoever reads it finds the note in its place."""
        ...


class PostgresBuildLogs:
    """The logs in PostgreSQL; reading is one round trip under row-level security."""

    def __init__(self, database: Database) -> None:
        self._database = database

    _APPEND = "SELECT work.append_build_log($1, $2, $3, $4, $5, $6, $7)"

    async def append(self, tenant_id: UUID, deployment_id: UUID, text: str, *, cursor: int, next_cursor: int) -> None:
        content = bounded(text).encode("utf-8", "replace")
        bounds = (HEAD_BYTES_MAX, TAIL_BYTES_MAX)
        await self._database.execute(self._APPEND, tenant_id, deployment_id, cursor, next_cursor, content, *bounds)

    _CURSOR = "SELECT coalesce(max(next_cursor), 0) FROM work.build_logs WHERE tenant_id = $1 AND deployment_id = $2"

    async def cursor(self, tenant_id: UUID, deployment_id: UUID) -> int:
        cursor: int = await self._database.fetchval(self._CURSOR, tenant_id, deployment_id)
        return cursor

    _READ = """
        SELECT next_cursor, begins_at, content
          FROM work.read_build_log($1, $2, $3)
    """

    async def read(self, tenant_id: UUID, deployment_id: UUID, *, after: int = 0) -> BuildLog:
        rows = await self._database.fetch(self._READ, tenant_id, deployment_id, after)
        kept = [_Chunk(row["next_cursor"], row["begins_at"], row["content"]) for row in rows]
        return _joined(kept, after)

    _KEPT = """
          WITH RECURSIVE logs AS (
               (SELECT l.tenant_id, l.deployment_id
                  FROM work.build_logs l
                 WHERE (l.tenant_id, l.deployment_id) > ($1, $2)
                 ORDER BY l.tenant_id, l.deployment_id LIMIT 1)
                UNION ALL
               SELECT n.tenant_id, n.deployment_id
                 FROM logs g
                CROSS JOIN LATERAL (
                       SELECT l.tenant_id, l.deployment_id
                         FROM work.build_logs l
                        WHERE (l.tenant_id, l.deployment_id) > (g.tenant_id, g.deployment_id)
                        ORDER BY l.tenant_id, l.deployment_id LIMIT 1) n
          )
        SELECT g.tenant_id, g.deployment_id, w.written_at
          FROM logs g
         CROSS JOIN LATERAL (
                SELECT max(l.written_at) AS written_at
                  FROM work.build_logs l
                 WHERE l.tenant_id = g.tenant_id AND l.deployment_id = g.deployment_id) w
         WHERE w.written_at < 'infinity'
         LIMIT $3
    """

    async def kept(self, *, after: tuple[UUID, UUID], limit: int) -> list[Kept]:
        return [Kept(*row) for row in await self._database.fetch(self._KEPT, *after, limit)]

    # No chunk has this cursor, and none is written later than for ever.
    _EXPIRE = """
          WITH gone AS (
               DELETE FROM work.build_logs WHERE tenant_id = $1 AND deployment_id = $2 RETURNING next_cursor)
        INSERT INTO work.build_logs (tenant_id, deployment_id, cursor, next_cursor, begins_at, content, written_at)
        SELECT $1, $2, -1, max(next_cursor), 0, $3, 'infinity' FROM gone HAVING count(*) > 0
            ON CONFLICT (tenant_id, deployment_id, cursor) DO NOTHING
    """

    async def expire(self, tenant_id: UUID, deployment_id: UUID, note: str) -> None:
        await self._database.execute(self._EXPIRE, tenant_id, deployment_id, note.encode())


class MemoryBuildLogs:
    """The logs as long as their process lives, under a clock of the caller's."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._kept: dict[tuple[UUID, UUID], list[_Chunk]] = {}
        self._written_at: dict[tuple[UUID, UUID], datetime] = {}

    async def append(self, tenant_id: UUID, deployment_id: UUID, text: str, *, cursor: int, next_cursor: int) -> None:
        kept = self._kept.setdefault((tenant_id, deployment_id), [])
        if kept and cursor < kept[-1].next_cursor:
            return
        begins_at = kept[-1].ends_at if kept else 0
        self._written_at[tenant_id, deployment_id] = self._clock()
        kept.append(_Chunk(next_cursor, begins_at, bounded(text).encode("utf-8", "replace")))
        tail = kept[-1].ends_at - TAIL_BYTES_MAX
        kept[:] = [chunk for chunk in kept if chunk.begins_at < HEAD_BYTES_MAX or chunk.ends_at > tail]

    async def cursor(self, tenant_id: UUID, deployment_id: UUID) -> int:
        kept = self._kept.get((tenant_id, deployment_id))
        return kept[-1].next_cursor if kept else 0

    async def read(self, tenant_id: UUID, deployment_id: UUID, *, after: int = 0) -> BuildLog:
        kept = self._kept.get((tenant_id, deployment_id), [])
        return _joined([chunk for chunk in kept if chunk.next_cursor > after], after)

    async def kept(self, *, after: tuple[UUID, UUID], limit: int) -> list[Kept]:
        return [Kept(*key, at) for key, at in sorted(self._written_at.items()) if key > after][:limit]

    async def expire(self, tenant_id: UUID, deployment_id: UUID, note: str) -> None:
        key = (tenant_id, deployment_id)
        if self._written_at.pop(key, None) is not None:
            self._kept[key] = [_Chunk(self._kept[key][-1].next_cursor, 0, note.encode())]


class _Chunk(msgspec.Struct, frozen=True):
    """`begins_at` is where it stands in the whole log, in bytes."""

    next_cursor: int
    begins_at: int
    content: bytes

    @property
    def ends_at(self) -> int:
        return self.begins_at + len(self.content)


def bounded(text: str) -> str:
    """The text, its middle cut out when it is longer than a chunk may be."""
    if len(text) <= CHUNK_CHARS_MAX:
        return text
    half = CHUNK_CHARS_MAX // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"


def _joined(kept: list[_Chunk], after: int) -> BuildLog:
    pieces: list[bytes] = []
    dropped = 0
    for index, chunk in enumerate(kept):
        gap = chunk.begins_at - kept[index - 1].ends_at if index else 0
        if gap:
            pieces.append(f"\n… {gap} bytes left out …\n".encode())
        dropped += gap
        pieces.append(chunk.content)
    text = b"".join(pieces).decode("utf-8", "replace")
    return BuildLog(text=text, next_cursor=kept[-1].next_cursor if kept else after, dropped_bytes=dropped)
