"""Leases: who may work on what, until when, under an epoch that only rises."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

import msgspec

from domain.event import SYSTEM_TENANT
from eventstore.database import Database, Queries

LEASE_SECONDS_MAX = 300.0


class Wanted(msgspec.Struct, frozen=True):
    """What a lease is asked for. Names are unique over all tenants."""

    name: str
    tenant_id: UUID = SYSTEM_TENANT


class Lease(msgspec.Struct, frozen=True):
    """The right to work on what `name` stands for, while it lasts. Of two leases the one with the higher epoch counts."""

    name: str
    tenant_id: UUID
    holder: UUID
    epoch: int
    expires_at: datetime


class Leases(Protocol):
    """Gives out leases; the store's clock decides, so holders need not agree on the time."""

    async def acquire(self, wanted: Sequence[Wanted], *, holder: UUID, seconds: float) -> list[Lease]:
        """Those that were free, had run out, or were the holder's already; each under a new, higher epoch."""
        ...

    async def renew(self, leases: Sequence[Lease], *, seconds: float) -> list[Lease]:
        """Those nobody took over, valid for `seconds` from now. The others are lost: stop working on them."""
        ...

    async def release(self, leases: Sequence[Lease]) -> None:
        """Give back those that are still held; the rest are left alone."""
        ...

    async def held(self, names: Sequence[str]) -> list[Lease]:
        """The leases on these names that have not run out."""
        ...


class MemoryLeases:
    """The Leases of one process, under a clock of the caller's."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._epochs = itertools.count(1)
        self._leases: dict[str, Lease] = {}

    async def acquire(self, wanted: Sequence[Wanted], *, holder: UUID, seconds: float) -> list[Lease]:
        now = self._clock()
        acquired = {
            one.name: Lease(one.name, one.tenant_id, holder, next(self._epochs), _until(now, seconds))
            for one in sorted(set(wanted), key=lambda one: one.name)
            if self._is_free(one.name, holder, now)
        }
        self._leases.update(acquired)
        return list(acquired.values())

    async def renew(self, leases: Sequence[Lease], *, seconds: float) -> list[Lease]:
        expires_at = _until(self._clock(), seconds)
        renewed = {
            lease.name: msgspec.structs.replace(lease, expires_at=expires_at)
            for lease in sorted(leases, key=lambda lease: lease.name)
            if self._is_newest(lease)
        }
        self._leases.update(renewed)
        return list(renewed.values())

    async def release(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            if self._is_newest(lease):
                del self._leases[lease.name]

    async def held(self, names: Sequence[str]) -> list[Lease]:
        now = self._clock()
        found = (self._leases.get(name) for name in sorted(set(names)))
        return [lease for lease in found if lease is not None and lease.expires_at > now]

    def _is_free(self, name: str, holder: UUID, now: datetime) -> bool:
        lease = self._leases.get(name)
        return lease is None or lease.expires_at <= now or lease.holder == holder

    def _is_newest(self, lease: Lease) -> bool:
        newest = self._leases.get(lease.name)
        return newest is not None and newest.epoch == lease.epoch


def _until(now: datetime, seconds: float) -> datetime:
    return now + timedelta(seconds=min(seconds, LEASE_SECONDS_MAX))


# Rows are always locked in the order of their names, so two holders asking for many never wait for each other.
_ACQUIRE = """
    INSERT INTO work.leases AS l (name, tenant_id, holder, expires_at)
    SELECT w.name, w.tenant_id, $3, clock_timestamp() + $4::interval
      FROM unnest($1::text[], $2::uuid[]) w (name, tenant_id)
     ORDER BY w.name
        ON CONFLICT (name) DO UPDATE
       SET tenant_id = excluded.tenant_id, holder = excluded.holder, epoch = excluded.epoch,
           expires_at = excluded.expires_at
     WHERE l.expires_at <= clock_timestamp() OR l.holder = excluded.holder
    RETURNING name, tenant_id, holder, epoch, expires_at
"""

_RENEW = """
      WITH mine AS (
           SELECT l.name
             FROM work.leases l
             JOIN unnest($1::text[], $2::bigint[]) w (name, epoch) ON l.name = w.name AND l.epoch = w.epoch
            ORDER BY l.name
              FOR UPDATE OF l)
    UPDATE work.leases l
       SET expires_at = clock_timestamp() + $3::interval
      FROM mine
     WHERE l.name = mine.name
    RETURNING l.name, l.tenant_id, l.holder, l.epoch, l.expires_at
"""

_RELEASE = """
      WITH mine AS (
           SELECT l.name
             FROM work.leases l
             JOIN unnest($1::text[], $2::bigint[]) w (name, epoch) ON l.name = w.name AND l.epoch = w.epoch
            ORDER BY l.name
              FOR UPDATE OF l)
    DELETE FROM work.leases l
     USING mine
     WHERE l.name = mine.name
"""

_HELD = """
    SELECT name, tenant_id, holder, epoch, expires_at
      FROM work.leases
     WHERE name = ANY($1) AND expires_at > clock_timestamp()
     ORDER BY name
"""

_GUARD = """
    SELECT true
      FROM work.leases
     WHERE name = $1 AND epoch = $2
       FOR SHARE
"""


class PostgresLeases:
    """The Leases of everybody on one database, under its clock."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def acquire(self, wanted: Sequence[Wanted], *, holder: UUID, seconds: float) -> list[Lease]:
        distinct = {one.name: one.tenant_id for one in wanted}
        rows = await self._database.fetch(_ACQUIRE, list(distinct), list(distinct.values()), holder, _span(seconds))
        return sorted((Lease(*row) for row in rows), key=lambda lease: lease.name)

    async def renew(self, leases: Sequence[Lease], *, seconds: float) -> list[Lease]:
        rows = await self._database.fetch(
            _RENEW, [lease.name for lease in leases], [lease.epoch for lease in leases], _span(seconds)
        )
        return sorted((Lease(*row) for row in rows), key=lambda lease: lease.name)

    async def release(self, leases: Sequence[Lease]) -> None:
        await self._database.execute(_RELEASE, [lease.name for lease in leases], [lease.epoch for lease in leases])

    async def held(self, names: Sequence[str]) -> list[Lease]:
        return [Lease(*row) for row in await self._database.fetch(_HELD, list(names))]


async def is_still_ours(connection: Queries, lease: Lease) -> bool:
    """Whether nobody took it over; until the transaction of `connection` ends, nobody can.

    Ask inside the transaction that writes what the lease is for, and write nothing when it says no.
    """
    return bool(await connection.fetchval(_GUARD, lease.name, lease.epoch))


def _span(seconds: float) -> timedelta:
    return timedelta(seconds=min(seconds, LEASE_SECONDS_MAX))
