"""The ticks of schedules: each is fired by whoever takes it, once, and what came of it is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol
from uuid import UUID

import msgspec

from eventstore.database import Database, Row

# `firing`: taken, and its end is not known yet. `unknown`: it was taken, and whoever took it is gone. `missed`: nobody was
# there to fire it in time, so nobody did.
TickStatus = Literal["firing", "succeeded", "failed", "missed", "unknown"]

MESSAGE_CHARS_MAX = 500
END_OF_TIME = datetime.max.replace(tzinfo=UTC)


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """One instant at which a function's schedule was due. `http_status` is what the function answered."""

    tenant_id: UUID
    function_id: UUID
    due_at: datetime
    deployment_id: UUID
    status: TickStatus = "firing"
    taken_at: datetime | None = None
    ended_at: datetime | None = None
    http_status: int | None = None
    message: str = ""


class Ticks(Protocol):
    """What is due at an instant is known by its function and that instant."""

    async def take(self, ticks: Sequence[Tick], *, seconds: float) -> list[Tick]:
        """Those nobody had taken: they are the caller's to fire, and unknown when it has not told their end after so long.

        What is given as missed is only written down.
        """
        ...

    async def end(self, tick: Tick, status: TickStatus, *, http_status: int | None = None, message: str = "") -> None:
        """Tell what came of it. Nothing changes when its end was told before."""
        ...

    async def give_back(self, tick: Tick) -> None:
        """The function certainly never heard of it: anybody may take it again."""
        ...

    async def give_up_lost(self) -> int:
        """Call those unknown whose time is over; how many that were."""
        ...

    async def newest(self, functions: Sequence[tuple[UUID, UUID]]) -> dict[UUID, datetime]:
        """When the newest tick of each (tenant, function) was due; those that have none are left out."""
        ...

    async def read(
        self, tenant_id: UUID, function_id: UUID, *, before: datetime = END_OF_TIME, limit: int
    ) -> list[Tick]:
        """The function's ticks due before that instant, the newest first."""
        ...

    async def prune(self, tenant_id: UUID, before: datetime, *, limit: int) -> int:
        """Forget a tenant's older ones, except for the newest of each function; how many went, at most `limit`."""
        ...


class MemoryTicks:
    """The ticks as long as their process lives, under a clock of the caller's."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._ticks: dict[tuple[UUID, UUID, datetime], Tick] = {}
        self._lost_after: dict[tuple[UUID, UUID, datetime], datetime] = {}

    async def take(self, ticks: Sequence[Tick], *, seconds: float) -> list[Tick]:
        now, taken = self._clock(), []
        for tick in ticks:
            if _key(tick) not in self._ticks:
                ended_at = now if tick.status == "missed" else None
                self._ticks[_key(tick)] = msgspec.structs.replace(tick, taken_at=now, ended_at=ended_at)
                self._lost_after[_key(tick)] = now + timedelta(seconds=seconds)
                taken.append(self._ticks[_key(tick)])
        return taken

    async def end(self, tick: Tick, status: TickStatus, *, http_status: int | None = None, message: str = "") -> None:
        found = self._ticks.get(_key(tick))
        if found is not None and found.status == "firing":
            self._ticks[_key(tick)] = msgspec.structs.replace(
                found,
                status=status,
                ended_at=self._clock(),
                http_status=http_status,
                message=message[:MESSAGE_CHARS_MAX],
            )

    async def give_back(self, tick: Tick) -> None:
        found = self._ticks.get(_key(tick))
        if found is not None and found.status == "firing":
            del self._ticks[_key(tick)]

    async def give_up_lost(self) -> int:
        now = self._clock()
        lost = [t for key, t in self._ticks.items() if t.status == "firing" and self._lost_after[key] < now]
        for tick in lost:
            await self.end(tick, "unknown", message=LOST)
        return len(lost)

    async def newest(self, functions: Sequence[tuple[UUID, UUID]]) -> dict[UUID, datetime]:
        wanted, found = set(functions), dict[UUID, datetime]()
        for tenant_id, function_id, due_at in self._ticks:
            if (tenant_id, function_id) in wanted:
                found[function_id] = max(found.get(function_id, due_at), due_at)
        return found

    async def read(
        self, tenant_id: UUID, function_id: UUID, *, before: datetime = END_OF_TIME, limit: int
    ) -> list[Tick]:
        mine = (
            tick
            for tick in self._ticks.values()
            if (tick.tenant_id, tick.function_id) == (tenant_id, function_id) and tick.due_at < before
        )
        return sorted(mine, key=lambda tick: tick.due_at, reverse=True)[:limit]

    async def prune(self, tenant_id: UUID, before: datetime, *, limit: int) -> int:
        mine = sorted(key for key in self._ticks if key[0] == tenant_id)
        newest = {function_id: due_at for _, function_id, due_at in mine}
        old = [key for key in mine if key[2] < before and key[2] != newest[key[1]]][:limit]
        for key in old:
            del self._ticks[key]
        return len(old)


LOST = "The runner that fired it is gone; whether the function was called is not known."

_TAKE = """
    INSERT INTO work.ticks AS t (tenant_id, function_id, due_at, deployment_id, status, lost_after, ended_at)
    SELECT w.tenant_id, w.function_id, w.due_at, w.deployment_id, w.status, clock_timestamp() + $6::interval,
           CASE w.status WHEN 'missed' THEN clock_timestamp() END
      FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::uuid[], $5::text[])
           w (tenant_id, function_id, due_at, deployment_id, status)
     ORDER BY w.tenant_id, w.function_id, w.due_at
        ON CONFLICT (tenant_id, function_id, due_at) DO NOTHING
    RETURNING t.*
"""

_END = """
    UPDATE work.ticks
       SET status = $4, http_status = $5, message = $6, ended_at = clock_timestamp()
     WHERE tenant_id = $1 AND function_id = $2 AND due_at = $3 AND status = 'firing'
"""

_GIVE_BACK = """
    DELETE FROM work.ticks
     WHERE tenant_id = $1 AND function_id = $2 AND due_at = $3 AND status = 'firing'
"""

_GIVE_UP_LOST = """
      WITH lost AS (
           UPDATE work.ticks
              SET status = 'unknown', message = $1, ended_at = clock_timestamp()
            WHERE status = 'firing' AND lost_after < clock_timestamp()
           RETURNING 1)
    SELECT count(*) FROM lost
"""

_NEWEST = """
    SELECT w.function_id, t.due_at
      FROM unnest($1::uuid[], $2::uuid[]) w (tenant_id, function_id)
     CROSS JOIN LATERAL (
            SELECT t.due_at FROM work.ticks t
             WHERE t.tenant_id = w.tenant_id AND t.function_id = w.function_id
             ORDER BY t.due_at DESC LIMIT 1) t
"""

_READ = "SELECT * FROM work.read_ticks($1, $2, $3, $4)"

_PRUNE = """
      WITH old AS (
           SELECT t.tenant_id, t.function_id, t.due_at
             FROM work.ticks t
            WHERE t.tenant_id = $1 AND t.due_at < $2
              AND EXISTS (SELECT FROM work.ticks n
                           WHERE n.tenant_id = t.tenant_id AND n.function_id = t.function_id AND n.due_at > t.due_at)
            LIMIT $3),
           gone AS (
           DELETE FROM work.ticks t USING old o
            WHERE t.tenant_id = o.tenant_id AND t.function_id = o.function_id AND t.due_at = o.due_at
           RETURNING 1)
    SELECT count(*) FROM gone
"""


class PostgresTicks:
    """The ticks in PostgreSQL, under its clock; reading is one round trip under row-level security."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, ticks: Sequence[Tick], *, seconds: float) -> list[Tick]:
        columns = [[getattr(tick, name) for tick in ticks] for name in _TAKEN]
        rows = await self._database.fetch(_TAKE, *columns, timedelta(seconds=seconds))
        return [_tick(row) for row in rows]

    async def end(self, tick: Tick, status: TickStatus, *, http_status: int | None = None, message: str = "") -> None:
        said = message[:MESSAGE_CHARS_MAX].replace("\x00", "�")
        await self._database.execute(_END, *_key(tick), status, http_status, said)

    async def give_back(self, tick: Tick) -> None:
        await self._database.execute(_GIVE_BACK, *_key(tick))

    async def give_up_lost(self) -> int:
        count: int = await self._database.fetchval(_GIVE_UP_LOST, LOST)
        return count

    async def newest(self, functions: Sequence[tuple[UUID, UUID]]) -> dict[UUID, datetime]:
        tenants, ids = [tenant for tenant, _ in functions], [id for _, id in functions]
        return {row["function_id"]: row["due_at"] for row in await self._database.fetch(_NEWEST, tenants, ids)}

    async def read(
        self, tenant_id: UUID, function_id: UUID, *, before: datetime = END_OF_TIME, limit: int
    ) -> list[Tick]:
        return [_tick(row) for row in await self._database.fetch(_READ, tenant_id, function_id, before, limit)]

    async def prune(self, tenant_id: UUID, before: datetime, *, limit: int) -> int:
        count: int = await self._database.fetchval(_PRUNE, tenant_id, before, limit)
        return count


_TAKEN = ("tenant_id", "function_id", "due_at", "deployment_id", "status")


def _key(tick: Tick) -> tuple[UUID, UUID, datetime]:
    return tick.tenant_id, tick.function_id, tick.due_at


def _tick(row: Row) -> Tick:
    return Tick(**{name: row[name] for name in Tick.__struct_fields__})
