"""One tenant's events in the log's order, for whoever may see only these."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

import msgspec
import structlog

from eventstore.archive.log_events import Wanted, archived_piece
from eventstore.archive.manifest import ArchiveDamaged
from eventstore.archive.whole import Shelf
from eventstore.archived import EventsArchived, told_if_archived
from eventstore.database import Database
from eventstore.log import Log, StoredEvent

# One call looks through so many positions at most, however few of their events are the tenant's.
POSITIONS_MAX = 50_000
EVENTS_MAX = 1_000


class TenantPiece(msgspec.Struct, frozen=True):
    """Some events, and the position up to which the tenant has no others."""

    events: list[StoredEvent]
    position: int


class TenantEvents(Protocol):
    """Reads the log as far as it is one tenant's."""

    async def after(self, tenant_id: UUID, position: int, *, up_to: int) -> TenantPiece:
        """The tenant's next events behind a position below `up_to`, and none beyond that; perhaps none yet.

        Raises EventsArchived when that part of the log is not in the database.
        """
        ...


_BETWEEN = """
    SELECT position, tenant_id, stream_id, version, type, schema_version, recorded_at, meta, data
      FROM log.read_between($1, $2, $3, NULL, $4)
"""


class PostgresTenantEvents:
    """The log in PostgreSQL, held to the tenant by row-level security: one round trip a piece."""

    def __init__(self, database: Database, shelf: Shelf) -> None:
        """What is archived comes from the shelf."""
        self._database, self._shelf = database, shelf

    async def after(self, tenant_id: UUID, position: int, *, up_to: int) -> TenantPiece:
        end = min(up_to, position + POSITIONS_MAX)
        try:
            with told_if_archived():
                rows = await self._database.fetch(_BETWEEN, tenant_id, position, end, EVENTS_MAX)
        except EventsArchived as archived:
            return await self._archived(tenant_id, position, up_to, archived)
        found = [StoredEvent(*row) for row in rows]
        return TenantPiece(found, found[-1].position if len(found) == EVENTS_MAX else end)

    async def _archived(self, tenant_id: UUID, after: int, up_to: int, archived: EventsArchived) -> TenantPiece:
        try:
            piece = await archived_piece(self._shelf, Wanted(tenant_id=tenant_id), after=after, up_to=up_to)
        except (EventsArchived, ArchiveDamaged) as problem:
            # Where the files are, and what is wrong with them, is the operators' affair.
            structlog.get_logger().warning("archive_unreadable", reason=str(problem))
            raise archived from problem
        return TenantPiece(piece.events, piece.position)


class LogTenantEvents:
    """Any log that may be read as a whole."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def after(self, tenant_id: UUID, position: int, *, up_to: int) -> TenantPiece:
        read = [event for event in await self._log.read(position, limit=EVENTS_MAX) if event.position <= up_to]
        own = [event for event in read if event.tenant_id == tenant_id]
        return TenantPiece(own, read[-1].position if len(read) == EVENTS_MAX else up_to)
