"""Moves readers from one build of a read model to another, when both show the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from eventstore.database import Connection, Database
from projections.active import activate, active_versions
from projections.read_model import AnyModel
from projections.rebuild.jobs import Job, hold_job
from projections.worker import Worker

# The worker that feeds what is served waits while the rest is applied: a moment, or it is tried again.
HOLD_SECONDS_MAX = 2.0
LOCK_SECONDS_MAX = 2

_HOLD = "SELECT c.kind, c.position FROM views.checkpoints c WHERE c.kind <> $1 ORDER BY c.kind FOR UPDATE"
# The new build is free for whoever leads, and whoever feeds the others is to look anew what is served.
_HAND_OVER = "UPDATE views.checkpoints SET epoch = 0 WHERE kind = $1"
_TELL_WORKERS = "UPDATE views.checkpoints SET generation = generation + 1 WHERE kind <> $1"


async def served_twin(database: Database, model: AnyModel) -> AnyModel | None:
    """The build that is served, when it is another one of the same version and so ought to show the same."""
    served = (await active_versions(database)).get(model.name)
    if served is None or served.version != model.version or served.build == model.build:
        return None
    return msgspec.structs.replace(model, build=served.build)


@asynccontextmanager
async def held_still(database: Database, old: AnyModel | None, new: AnyModel) -> AsyncIterator[tuple[Connection, int]]:
    """A transaction in which only the new build is taken further, and where the old one stands meanwhile (0: nobody has
    ever fed it)."""
    async with database.transaction() as connection:
        await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS_MAX}s'")
        # All of them in the order in which workers lock them, so that nobody waits for each other.
        rows = await connection.fetch(_HOLD, new.kind)
        standing = {row["kind"]: row["position"] for row in rows}
        yield connection, standing.get(old.kind, 0) if old else 0


async def bring_level(worker: Worker, position: int) -> None:
    """Take the worker's build to just this position."""
    while worker.position < position and await worker.turn(up_to=position):
        pass


async def move_pointer(connection: Connection, job: Job, model: AnyModel) -> None:
    """Serve the model's build from when the transaction commits. Raises Superseded when the job is in other hands."""
    await hold_job(connection, job)
    await activate(connection, model)
    await connection.execute(_HAND_OVER, model.kind)
    await connection.execute(_TELL_WORKERS, model.kind)
