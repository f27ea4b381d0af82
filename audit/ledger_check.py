"""The log's claims and counters against the log: both travel with the events, so both can be reckoned again."""

from __future__ import annotations

import zlib
from collections import Counter as Tally
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from audit.changes import Change
from audit.findings import Difference, Findings, Problem, Progress, Tell
from eventstore.archive.log_events import ARCHIVED_EVENTS_MAX, POSITIONS_MAX, head
from eventstore.archive.whole import Shelf
from eventstore.archived import EventsArchived, told_if_archived
from eventstore.database import Database, Queries
from eventstore.meta import Meta, decode_meta

CLAIMS, COUNTERS = "claims", "counters"
_BOTH = "claims and counters"
# So many live claims and counters are reckoned at a time, for which the log is read once.
LANE_ROWS = 200_000
PAGE_ROWS = 5_000

ClaimKey = tuple[UUID, str, str]
CounterKey = tuple[UUID, str, str]

# Most events carry neither, and are not sent at all.
_METAS = """
    SELECT e.position, e.meta
      FROM log.events e
     WHERE e.position > log.beyond_archives($1) AND e.position <= $2
       AND (position('"claims"'::bytea IN e.meta) > 0 OR position('"counters"'::bytea IN e.meta) > 0)
     ORDER BY e.position
"""
_CLAIMS = """
    SELECT c.key, c.tenant_id, c.scope, c.holder
      FROM log.claims c
     WHERE (c.key, c.tenant_id, c.scope) > ($1, $2, $3) AND ($4::uuid IS NULL OR c.tenant_id = $4)
     ORDER BY c.key, c.tenant_id, c.scope
     LIMIT $5
"""
_COUNTERS = """
    SELECT DISTINCT ON (c.tenant_id, c.scope, c.name) c.tenant_id, c.scope, c.name, c.value
      FROM log.counters c
     WHERE (c.tenant_id, c.scope, c.name) > ($1, $2, $3) AND ($4::uuid IS NULL OR c.tenant_id = $4)
     ORDER BY c.tenant_id, c.scope, c.name, c.change DESC
     LIMIT $5
"""
_SIZE = "SELECT (SELECT count(*) FROM log.claims) + (SELECT count(*) FROM log.counters)"
_FIRST = UUID(int=0)


class Ledger:
    """Claims and counters as the events have them: those of one lane among so many, and of one tenant or all."""

    def __init__(self, tenant_id: UUID | None = None, *, lane: int = 0, lanes: int = 1) -> None:
        self._tenant_id, self._lane, self._lanes = tenant_id, lane, lanes
        self.claims: dict[ClaimKey, UUID] = {}
        self.counters: Tally[CounterKey] = Tally()
        # Claims that were taken while another held them.
        self.broken: dict[ClaimKey, str] = {}

    def take(self, position: int, meta: Meta) -> None:
        """The metadata of the next event."""
        for claim in meta.claims:
            key = (claim.tenant_id, claim.scope, claim.key)
            if not self.has(key):
                continue
            holder = self.claims.get(key)
            if claim.release:
                if holder == claim.holder:
                    del self.claims[key]
            elif holder in (None, claim.holder):
                self.claims[key] = claim.holder
            else:
                self.broken.setdefault(key, f"taken at {position} by {claim.holder} while {holder} held it")
        for counter in meta.counters:
            key = (counter.tenant_id, counter.scope, counter.name)
            if self.has(key):
                self.counters[key] += counter.delta

    def has(self, key: tuple[UUID, str, str]) -> bool:
        """Whether it is of this lane and tenant."""
        if self._tenant_id not in (None, key[0]):
            return False
        return self._lanes == 1 or zlib.crc32(f"{key[0]}/{key[1]}/{key[2]}".encode()) % self._lanes == self._lane


async def check_ledger(
    database: Database,
    tenant_id: UUID | None,
    findings: Findings,
    tell: Tell,
    *,
    lane_rows: int = LANE_ROWS,
    shelf: Shelf | None = None,
) -> None:
    """Compare all of them, or a tenant's. `database` acts as dcf_engine; archived events come from the shelf.

    Raises EventsArchived, ArchiveDamaged.
    """
    lanes = -(-max(1, await database.fetchval(_SIZE)) // lane_rows)
    for lane in range(lanes):
        ledger = Ledger(tenant_id, lane=lane, lanes=lanes)
        end = await head(database)
        async for position in _reckon(database, ledger, 0, end, shelf):
            tell(Progress(_BOTH, lane * end + position, lanes * end))
        # An append writes its events, its claims and its counters together: a snapshot shows all of one position.
        async with database.transaction(isolation="repeatable_read", readonly=True) as snapshot:
            async for _ in _reckon(snapshot, ledger, end, await head(snapshot)):
                pass
            await _compare_claims(snapshot, ledger, tenant_id, findings)
            await _compare_counters(snapshot, ledger, tenant_id, findings)


async def _reckon(
    queries: Queries, ledger: Ledger, after: int, up_to: int, shelf: Shelf | None = None
) -> AsyncIterator[int]:
    """Take what follows `after`, and say how far that is done."""
    while after < up_to:
        end = min(up_to, after + POSITIONS_MAX)
        try:
            with told_if_archived():
                metas = [(row["position"], row["meta"]) for row in await queries.fetch(_METAS, after, end)]
        except EventsArchived:
            if shelf is None:
                raise
            read = await shelf.read(after, limit=ARCHIVED_EVENTS_MAX)
            end = min(up_to, read[-1].position)
            metas = [(event.position, event.meta) for event in read if event.position <= end and _carries(event.meta)]
        for position, meta in metas:
            ledger.take(position, decode_meta(meta))
        after = end
        yield after


def _carries(meta: bytes) -> bool:
    return b'"claims"' in meta or b'"counters"' in meta


async def _compare_claims(queries: Queries, ledger: Ledger, tenant_id: UUID | None, findings: Findings) -> None:
    left = dict(ledger.claims)
    after: tuple[str, UUID, str] = ("", _FIRST, "")
    while page := await queries.fetch(_CLAIMS, *after, tenant_id, PAGE_ROWS):
        after = (page[-1]["key"], page[-1]["tenant_id"], page[-1]["scope"])
        for row in page:
            key = (row["tenant_id"], row["scope"], row["key"])
            if ledger.has(key):
                findings.checked[CLAIMS] += 1
                _compare(findings, CLAIMS, key, row["holder"], left.pop(key, None))
    for key, holder in left.items():
        _compare(findings, CLAIMS, key, None, holder)
    for key, detail in ledger.broken.items():
        findings.add(_difference(CLAIMS, key, "differs", detail=detail))


async def _compare_counters(queries: Queries, ledger: Ledger, tenant_id: UUID | None, findings: Findings) -> None:
    # One that was counted up and down within a single batch was never written, and nobody misses a zero.
    left = {key: value for key, value in ledger.counters.items() if value != 0}
    after: tuple[UUID, str, str] = (_FIRST, "", "")
    while page := await queries.fetch(_COUNTERS, *after, tenant_id, PAGE_ROWS):
        after = (page[-1]["tenant_id"], page[-1]["scope"], page[-1]["name"])
        for row in page:
            key = (row["tenant_id"], row["scope"], row["name"])
            if ledger.has(key):
                findings.checked[COUNTERS] += 1
                _compare(findings, COUNTERS, key, row["value"] or None, left.pop(key, None))
    for key, value in left.items():
        _compare(findings, COUNTERS, key, None, value)


def _compare(findings: Findings, where: str, key: tuple[UUID, str, str], stored: object, said: object) -> None:
    if stored != said:
        problem: Problem = "missing" if stored is None else "surplus" if said is None else "differs"
        change = Change("holder" if where == CLAIMS else "value", _plain(stored), _plain(said))
        findings.add(_difference(where, key, problem, changes=(change,)))


def _difference(where: str, key: tuple[UUID, str, str], problem: Problem, **more: Any) -> Difference:
    return Difference(where=where, tenant_id=key[0], id=f"{key[1]}/{key[2]}", problem=problem, **more)


def _plain(value: object) -> object:
    return str(value) if isinstance(value, UUID) else value
