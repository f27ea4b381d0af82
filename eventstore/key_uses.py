"""When each API key was last used, to the minute."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from eventstore.database import Database

# Uses closer together than this are one.
APART = timedelta(minutes=1)


class KeyUses(Protocol):
    """The last use of every key."""

    async def note(self, tenant_id: UUID, key_id: UUID, at: datetime) -> None:
        """The key was used. Changes nothing within APART of the use noted before."""
        ...

    async def of(self, tenant_id: UUID, key_ids: Sequence[UUID]) -> dict[UUID, datetime]:
        """The last use of each of the tenant's keys that was ever used."""
        ...


class PostgresKeyUses:
    """The uses in PostgreSQL; each call is one round trip under row-level security."""

    def __init__(self, database: Database) -> None:
        self._database = database

    _NOTE = "SELECT work.note_key_use($1, $2, $3, $4)"

    async def note(self, tenant_id: UUID, key_id: UUID, at: datetime) -> None:
        await self._database.execute(self._NOTE, tenant_id, key_id, at, APART)

    _OF = "SELECT key_id, used_at FROM work.key_uses_of($1, $2)"

    async def of(self, tenant_id: UUID, key_ids: Sequence[UUID]) -> dict[UUID, datetime]:
        rows = await self._database.fetch(self._OF, tenant_id, list(key_ids))
        return {UUID(int=row["key_id"].int): row["used_at"] for row in rows}


class MemoryKeyUses:
    """The uses as long as their process lives."""

    def __init__(self) -> None:
        self._used: dict[tuple[UUID, UUID], datetime] = {}

    async def note(self, tenant_id: UUID, key_id: UUID, at: datetime) -> None:
        before = self._used.get((tenant_id, key_id))
        if before is None or before <= at - APART:
            self._used[tenant_id, key_id] = at

    async def of(self, tenant_id: UUID, key_ids: Sequence[UUID]) -> dict[UUID, datetime]:
        return {id: self._used[tenant_id, id] for id in key_ids if (tenant_id, id) in self._used}
