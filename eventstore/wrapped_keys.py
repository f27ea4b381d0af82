"""The tenants' keys in the database's vault, wrapped by a key service."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from eventstore.database import Database, Row
from process.key_ring import KeptKey, Place, WrappedBy
from process.key_service import WrappedKey


class PostgresWrappedKeys:
    """What holds them may put a key in and read one, and the engine may list and wrap them anew."""

    def __init__(self, database: Database) -> None:
        self._database = database

    _FIND = "SELECT key_id, service, version, wrapped FROM vault.find_tenant_key($1, $2)"

    async def find(self, tenant_id: UUID, purpose: str) -> KeptKey | None:
        row = await self._database.fetchrow(self._FIND, tenant_id, purpose)
        return None if row is None else _kept(row)

    _ADD = "SELECT key_id, service, version, wrapped FROM vault.add_tenant_key($1, $2, $3, $4, $5, $6)"

    async def add(self, tenant_id: UUID, purpose: str, kept: KeptKey) -> KeptKey:
        wrapped = kept.wrapped
        row = await self._database.fetchrow(
            self._ADD, tenant_id, purpose, kept.key_id, wrapped.service, wrapped.version, wrapped.content
        )
        # A rival's may have been added since this statement began, which then shows none.
        found = await self.find(tenant_id, purpose) if row is None else _kept(row)
        assert found is not None, "none is ever taken away"
        return found

    _TO_REWRAP = """
        SELECT tenant_id, purpose, key_id, service, version, wrapped
          FROM vault.tenant_keys_to_rewrap($1, $2, $3, $4, $5)
    """

    async def to_rewrap(
        self, service: str, *, before: datetime, after: Place, limit: int
    ) -> list[tuple[UUID, str, KeptKey]]:
        rows = await self._database.fetch(self._TO_REWRAP, service, before, *after, limit)
        return [(UUID(int=row["tenant_id"].int), row["purpose"], _kept(row)) for row in rows]

    _REWRAP = "SELECT vault.rewrap_tenant_key($1, $2, $3, $4, $5, $6)"

    async def rewrap(self, tenant_id: UUID, purpose: str, wrapped: WrappedKey, *, former: WrappedKey) -> None:
        await self._database.execute(
            self._REWRAP, tenant_id, purpose, former.content, wrapped.service, wrapped.version, wrapped.content
        )

    _COUNTS = "SELECT service, version, held FROM vault.tenant_key_wrappings()"

    async def counts(self) -> list[WrappedBy]:
        rows = await self._database.fetch(self._COUNTS)
        return [WrappedBy(row["service"], row["version"], row["held"]) for row in rows]


def _kept(row: Row) -> KeptKey:
    return KeptKey(UUID(int=row["key_id"].int), WrappedKey(row["service"], row["version"], row["wrapped"]))
