"""Apply what was parked, after its cause was mended."""

from __future__ import annotations

import msgspec

from eventstore.codec import Codec
from eventstore.database import Database
from eventstore.log import Log, StoredEvent
from projections.checkpoints import lock
from projections.commit import Move, commit_within
from projections.fold import Fold
from projections.handing_out import HandingOut
from projections.parking import Parked, ParkedStreams, parked_events
from projections.read_model import AnyModel
from projections.stored_rows import load_rows

# What one call applies; call again while something is left and something was applied.
REPLAY_EVENTS_MAX = 10_000


class Replayed(msgspec.Struct, frozen=True):
    """How many events were applied, and how many are parked still."""

    applied: int
    left: int


async def replay_parked(database: Database, log: Log, codec: Codec, model: AnyModel) -> Replayed:
    """Try the parked events of a read model again, in order. `database` acts as dcf_engine.

    The worker stands still meanwhile, and reads its rows again afterwards; doing this twice is doing it once.
    """
    async with database.transaction() as connection:
        locked = await lock(connection, model.kind)
        if locked is None:
            return Replayed(applied=0, left=0)
        checkpoint, epoch = locked
        waiting = await parked_events(connection, model.kind, limit=REPLAY_EVENTS_MAX)
        if not waiting:
            return Replayed(applied=0, left=0)
        fold = Fold(model, ParkedStreams(), again=True)
        HandingOut(codec, [fold]).give([await _event(log, parked) for parked in waiting])
        await load_rows(connection, [fold])
        folded = fold.finish()
        still = {parked.position for parked in folded.parked}
        applied = [parked.position for parked in waiting if parked.position not in still]
        move = Move(
            checkpoints=[checkpoint],
            epoch=epoch,
            from_position=checkpoint.position,
            to_position=checkpoint.position,
            reached_at=None,
            applied_parked=applied,
        )
        await commit_within(connection, move, [(model, folded)])
        return Replayed(applied=len(applied), left=len(still))


async def _event(log: Log, parked: Parked) -> StoredEvent:
    return (await log.read(parked.position - 1, limit=1))[0]
