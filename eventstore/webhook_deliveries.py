"""How far each webhook was told what happened, and what came of telling it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

import msgspec

from eventstore.database import Database, Row

# `waiting`: it was tried and will be again. `refused`: its address would not have it, and what follows is told.
DeliveryStatus = Literal["delivered", "waiting", "refused", "failed"]

MESSAGE_CHARS_MAX = 300


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Everything up to `position` was told. `heeded` is the position of the newest wish of its owner's that was met.

    `failures` counts the tries since one succeeded, the first of them at `failing_since`; before `next_at` nothing is sent.
    """

    tenant_id: UUID
    webhook_id: UUID
    position: int
    heeded: int = 0
    failures: int = 0
    failing_since: datetime | None = None
    next_at: datetime | None = None
    delivered_at: datetime | None = None
    message: str = ""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event and what came of telling it. `attempts` counts them all, the last one at `last_at`.

    `http_status` is what the address answered to it, None when nothing was.
    """

    tenant_id: UUID
    webhook_id: UUID
    position: int
    type: str
    status: DeliveryStatus
    first_at: datetime
    last_at: datetime
    deployment_id: UUID | None = None
    attempts: int = 1
    http_status: int | None = None
    message: str = ""


class Deliveries(Protocol):
    """Only who still sees the progress as it is may move it on, so two who send to one webhook agree on how far it got."""

    async def progress(self, webhooks: Sequence[tuple[UUID, UUID, int]]) -> dict[UUID, Progress]:
        """How far each (tenant, webhook, position it begins at) got, by the webhook's id; new ones begin now."""
        ...

    async def move(self, before: Progress, after: Progress, delivery: Delivery | None = None) -> bool:
        """Put `after` in the place of `before`, and write the delivery down; False, and neither, if it has moved."""
        ...

    async def find(self, tenant_id: UUID, webhook_ids: Sequence[UUID]) -> dict[UUID, Progress]:
        """How far each of a tenant's got, by its id; those that were never looked at are left out."""
        ...

    async def read(self, tenant_id: UUID, webhook_id: UUID, *, before: int, limit: int) -> list[Delivery]:
        """What was told it of events before a position, the newest first."""
        ...

    async def prune(self, tenant_id: UUID, before: datetime, *, limit: int) -> int:
        """Forget a tenant's deliveries that ended before then; how many went, at most `limit`."""
        ...


class MemoryDeliveries:
    """The deliveries as long as their process lives."""

    def __init__(self) -> None:
        self._progress: dict[UUID, Progress] = {}
        self._deliveries: dict[tuple[UUID, int], Delivery] = {}

    async def progress(self, webhooks: Sequence[tuple[UUID, UUID, int]]) -> dict[UUID, Progress]:
        for tenant_id, webhook_id, position in webhooks:
            begun = Progress(tenant_id=tenant_id, webhook_id=webhook_id, position=position, heeded=position)
            self._progress.setdefault(webhook_id, begun)
        return {webhook_id: self._progress[webhook_id] for _, webhook_id, _ in webhooks}

    async def move(self, before: Progress, after: Progress, delivery: Delivery | None = None) -> bool:
        if self._progress.get(before.webhook_id) != before:
            return False
        self._progress[before.webhook_id] = after
        if delivery is not None:
            key = delivery.webhook_id, delivery.position
            former = self._deliveries.get(key)
            if former is not None:
                delivery = msgspec.structs.replace(delivery, attempts=former.attempts + 1, first_at=former.first_at)
            self._deliveries[key] = delivery
        return True

    async def find(self, tenant_id: UUID, webhook_ids: Sequence[UUID]) -> dict[UUID, Progress]:
        found = {id: self._progress[id] for id in webhook_ids if id in self._progress}
        return {id: one for id, one in found.items() if one.tenant_id == tenant_id}

    async def read(self, tenant_id: UUID, webhook_id: UUID, *, before: int, limit: int) -> list[Delivery]:
        own = (one for one in self._deliveries.values() if (one.tenant_id, one.webhook_id) == (tenant_id, webhook_id))
        return sorted((one for one in own if one.position < before), key=lambda one: -one.position)[:limit]

    async def prune(self, tenant_id: UUID, before: datetime, *, limit: int) -> int:
        old = [
            key
            for key, one in self._deliveries.items()
            if one.tenant_id == tenant_id and one.status != "waiting" and one.last_at < before
        ][:limit]
        for key in old:
            del self._deliveries[key]
        return len(old)


_PROGRESS = "SELECT * FROM work.begin_webhooks($1::uuid[], $2::uuid[], $3::bigint[])"

_MOVE = """
      WITH moved AS (
           UPDATE work.webhook_progress AS p
              SET position = $8, heeded = $9, failures = $10, failing_since = $11, next_at = $12, delivered_at = $13,
                  message = $14
            WHERE p.tenant_id = $1 AND p.webhook_id = $2 AND p.position = $3 AND p.heeded = $4 AND p.failures = $5
              AND p.failing_since IS NOT DISTINCT FROM $6 AND p.next_at IS NOT DISTINCT FROM $7
           RETURNING 1),
           told AS (
           INSERT INTO work.webhook_deliveries AS d
                  (tenant_id, webhook_id, position, type, deployment_id, status, attempts, first_at, last_at, http_status,
                   message)
           SELECT $1, $2, $15::bigint, $16::text, $17::uuid, $18::text, 1, $19::timestamptz, $19::timestamptz, $20::integer,
                  $21::text
             FROM moved
            WHERE $15::bigint IS NOT NULL
               ON CONFLICT (tenant_id, webhook_id, position) DO UPDATE
              SET status = excluded.status, attempts = d.attempts + 1, last_at = excluded.last_at,
                  http_status = excluded.http_status, message = excluded.message
           RETURNING 1)
    SELECT count(*) FROM moved
"""

_FIND = "SELECT * FROM work.read_webhook_progress($1, $2)"

_READ = "SELECT * FROM work.read_webhook_deliveries($1, $2, $3, $4)"

_PRUNE = """
      WITH old AS (
           SELECT d.webhook_id, d.position
             FROM work.webhook_deliveries d
            WHERE d.tenant_id = $1 AND d.status <> 'waiting' AND d.last_at < $2
            LIMIT $3),
           gone AS (
           DELETE FROM work.webhook_deliveries d USING old o
            WHERE d.tenant_id = $1 AND d.webhook_id = o.webhook_id AND d.position = o.position
           RETURNING 1)
    SELECT count(*) FROM gone
"""


class PostgresDeliveries:
    """The deliveries in PostgreSQL; a tenant's are read in one round trip under row-level security."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def progress(self, webhooks: Sequence[tuple[UUID, UUID, int]]) -> dict[UUID, Progress]:
        columns = [list(column) for column in zip(*webhooks, strict=True)] or [[], [], []]
        rows = await self._database.fetch(_PROGRESS, *columns)
        return {row["webhook_id"]: _progress(row) for row in rows}

    async def move(self, before: Progress, after: Progress, delivery: Delivery | None = None) -> bool:
        told: tuple[object, ...] = (None,) * 7
        if delivery is not None:
            told = (
                delivery.position,
                delivery.type,
                delivery.deployment_id,
                delivery.status,
                delivery.last_at,
                delivery.http_status,
                _short(delivery.message),
            )
        count: int = await self._database.fetchval(
            _MOVE,
            before.tenant_id,
            before.webhook_id,
            before.position,
            before.heeded,
            before.failures,
            before.failing_since,
            before.next_at,
            after.position,
            after.heeded,
            after.failures,
            after.failing_since,
            after.next_at,
            after.delivered_at,
            _short(after.message),
            *told,
        )
        return count == 1

    async def find(self, tenant_id: UUID, webhook_ids: Sequence[UUID]) -> dict[UUID, Progress]:
        rows = await self._database.fetch(_FIND, tenant_id, list(webhook_ids))
        return {row["webhook_id"]: _progress(row) for row in rows}

    async def read(self, tenant_id: UUID, webhook_id: UUID, *, before: int, limit: int) -> list[Delivery]:
        rows = await self._database.fetch(_READ, tenant_id, webhook_id, before, limit)
        return [Delivery(**{name: row[name] for name in Delivery.__struct_fields__}) for row in rows]

    async def prune(self, tenant_id: UUID, before: datetime, *, limit: int) -> int:
        count: int = await self._database.fetchval(_PRUNE, tenant_id, before, limit)
        return count


def _progress(row: Row) -> Progress:
    return Progress(**{name: row[name] for name in Progress.__struct_fields__})


def _short(message: str) -> str:
    return message[:MESSAGE_CHARS_MAX].replace("\x00", "�")
