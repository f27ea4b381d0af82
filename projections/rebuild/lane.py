"""One lane of a rebuild: scans the log for its share of the rows, folds it in memory, and copies the outcome out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from uuid import UUID

import asyncpg
import msgspec

from eventstore.archive.log_events import Wanted, archived_piece
from eventstore.archive.whole import Shelf
from eventstore.archived import EventsArchived, told_if_archived
from eventstore.codec import Codec, tag_of
from eventstore.database import Connection, Database, Queries
from eventstore.log import StoredEvent
from eventstore.selection import SELECTED, stored_events
from projections.batch import fold_batch, set_aside
from projections.checkpoints import Superseded
from projections.commit import write_unguarded
from projections.fold import Folded
from projections.pace import WORK_SECONDS_WANTED, Pace
from projections.parking import parked_streams
from projections.read_model import AnyModel
from projections.recorded import Recorded
from projections.stored_rows import load_rows

# Positions that are folded in memory before anything is written: what bounds a lane's memory, however long the log is.
CHUNK_POSITIONS_MAX = 16_384
CHUNK_BYTES_WANTED = 16_000_000
_FIRST_POSITIONS = 1_024
_POSITIONS_MIN = 256
# Whoever makes a lane wait is not to make it rest for that too, so its work is told by the processor's time it took; the
# database takes about as much again for it.
_WORK_IN_ALL = 2.0


class LaneOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Which lane of how many, of which job under which epoch, scans for which model, up to which position."""

    job_id: UUID
    epoch: int
    model: str
    version: int
    build: int
    lane: int
    lanes: int
    scan_to: int


class NeedsOneLane(Exception):
    """An event that concerns other lanes too cannot be applied, or not yet: what waits behind it may be another lane's."""


class _StraysUndeclared(Exception):
    """The event changes a row that is not its own stream's, and the model does not say that events of its type do."""


_POSITION = "SELECT n.position FROM views.rebuild_lanes n WHERE n.rebuild_id = $1 AND n.lane = $2 AND n.epoch = $3"
_ADVANCE = """
    UPDATE views.rebuild_lanes n
       SET position = $5
     WHERE n.rebuild_id = $1 AND n.lane = $2 AND n.epoch = $3 AND n.position = $4
    RETURNING n.position
"""
# A row is its id's lane's, and an event that can only change its own stream's row is that stream's: only the others have
# to be seen by every lane, and nobody has to see what the model is not interested in.
_READ = f"""
    SELECT {SELECTED}
      FROM log.events e
     WHERE e.position > log.beyond_archives($1) AND e.position <= $2 AND e.type = ANY($3)
       AND (get_byte(uuid_send(e.stream_id), 15) % $5 = $6 OR e.type = ANY($4))
     ORDER BY e.position
"""  # noqa: S608 - names of columns

# What the database refuses it would refuse again.
_UNFIT = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)


async def scan(
    database: Database,
    codec: Codec,
    model: AnyModel,
    order: LaneOrder,
    pace: Pace | None = None,
    *,
    shelf: Shelf | None = None,
) -> None:
    """Scan from where the lane stands to the end of its order; every chunk is written together with how far it goes.
    With a `pace` it rests in between while others are at work. Archived events come from the shelf.

    Raises NeedsOneLane, Superseded when the job is in other hands; EventsArchived, ArchiveDamaged.
    """
    position = await database.fetchval(_POSITION, order.job_id, order.lane, order.epoch)
    if position is None:
        raise Superseded(f"epoch {order.epoch} no longer has {model.kind}")
    own, size = _of_lane(model, order), _FIRST_POSITIONS
    while position < order.scan_to:
        began = time.process_time()
        end = min(position + size, order.scan_to)
        events, end = await _read(database, model, order, position, end, shelf)
        try:
            folded = await _fold(database, codec, own, position, events)
            await _write(database, own, order, position, end, events, folded)
        except _UNFIT as error:
            if len(events) > 1:
                size = max(1, (end - position) // 2)
                continue
            await _write(database, own, order, position, end, events, set_aside(codec, own, events[0], error))
        before, position, size = position, end, _next_size(size, events)
        if pace is not None:
            size = await _rest(pace, _WORK_IN_ALL * (time.process_time() - began), end - before, size)


async def _rest(pace: Pace, worked_seconds: float, positions: int, size: int) -> int:
    """Give others their turn, should they want it; how many positions to take next."""
    if not await pace.rest(worked_seconds):
        return size
    return min(size, max(_POSITIONS_MIN, int(positions * WORK_SECONDS_WANTED / max(1e-6, worked_seconds))))


async def _read(
    queries: Queries, model: AnyModel, order: LaneOrder, position: int, end: int, shelf: Shelf | None
) -> tuple[list[StoredEvent], int]:
    """The lane's events up to `end`, or up to an earlier position, which is told."""
    interests, strays = _tags(model.interests), _tags(() if model.append_only else model.strays)
    try:
        with told_if_archived():
            rows = await queries.fetch(_READ, position, end, interests, strays, order.lanes, order.lane)
    except EventsArchived:
        wanted = Wanted(types=interests, strays=strays, lane=order.lane, lanes=order.lanes)
        piece = await archived_piece(shelf or Shelf(None), wanted, after=position, up_to=end)
        return piece.events, piece.position
    return stored_events(rows), end


async def _fold(
    queries: Queries, codec: Codec, model: AnyModel, position: int, events: Sequence[StoredEvent]
) -> Folded:
    parked = await parked_streams(queries, [model.kind])
    batch = await fold_batch(partial(load_rows, queries), codec, [model], parked, position, events)
    return batch.parts[0][1] if batch.parts else Folded()


async def _write(
    database: Database,
    model: AnyModel,
    order: LaneOrder,
    position: int,
    end: int,
    events: Sequence[StoredEvent],
    folded: Folded,
) -> None:
    if order.lanes > 1:
        _require_own(model, events, folded)
    async with database.transaction() as connection:
        await _advance(connection, order, position, end)
        await write_unguarded(connection, model, folded)


async def _advance(connection: Connection, order: LaneOrder, position: int, end: int) -> None:
    await connection.execute("SET LOCAL synchronous_commit = off")
    if await connection.fetchval(_ADVANCE, order.job_id, order.lane, order.epoch, position, end) is None:
        raise Superseded(f"epoch {order.epoch} no longer has lane {order.lane}")


def _require_own(model: AnyModel, events: Sequence[StoredEvent], folded: Folded) -> None:
    """Raises NeedsOneLane unless all that is set aside, and with it all that waits behind it, is this lane's alone."""
    strays = set(_tags(() if model.append_only else model.strays))
    types = {event.position: event.type for event in events} if folded.parked else {}
    for parked in folded.parked:
        if types[parked.position] in strays or parked.error.startswith(_StraysUndeclared.__name__):
            raise NeedsOneLane(parked.error)


def _of_lane(model: AnyModel, order: LaneOrder) -> AnyModel:
    """The model as far as this lane is concerned."""
    if order.lanes == 1 or model.append_only:
        return model
    every, strays, lane, lanes = model.keys, model.strays, order.lane, order.lanes

    def keys(recorded: Recorded) -> Sequence[UUID]:
        ids = every(recorded)
        if len(ids) == 1 and ids[0] is recorded.stream_id:
            return ids if recorded.stream_id.bytes[15] % lanes == lane else ()
        if not isinstance(recorded.event, strays) and any(id != recorded.stream_id for id in ids):
            raise _StraysUndeclared(type(recorded.event).__name__)
        return [id for id in ids if id.bytes[15] % lanes == lane]

    return msgspec.structs.replace(model, keys=keys, elsewhere=strays if model.makes_own_rows_only else None)


def _next_size(size: int, events: Sequence[StoredEvent]) -> int:
    size_bytes = sum(len(event.data) + len(event.meta) for event in events)
    if size_bytes > CHUNK_BYTES_WANTED:
        return max(1, size // 2)
    return min(CHUNK_POSITIONS_MAX, size * 2) if size_bytes < CHUNK_BYTES_WANTED // 2 else size


def _tags(events: Sequence[type]) -> list[str]:
    return [tag_of(event) for event in events]
