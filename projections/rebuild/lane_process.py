"""One lane in a process of its own: `python -m projections.rebuild.lane_process`, its order on standard input."""

from __future__ import annotations

import asyncio
import os
import sys
import threading

import msgspec
import uvloop

from domain.catalogue import AGGREGATES
from eventstore.codec import Codec
from eventstore.database import GIVING_WAY, connect
from process.garbage import collect_rarely
from projections.catalogue import READ_MODELS
from projections.checkpoints import Superseded
from projections.rebuild.lane import LaneOrder, NeedsOneLane, scan

NEEDS_ONE_LANE = 3
SUPERSEDED = 4
ERROR_BYTES_MAX = 4_000


class Assignment(msgspec.Struct, frozen=True):
    """What the process is told: where the database is, and what to do there."""

    url: str
    statement_cache_size: int
    order: LaneOrder


class LaneFailed(Exception):
    """The process of a lane ended as it should not. The message is the end of what it said."""


async def run_in_process(assignment: Assignment) -> None:
    """Scan in a process of its own, which ends with this call however that ends, and with this process too.

    Raises NeedsOneLane, Superseded, or LaneFailed.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None, "it was asked for"
    assert process.stderr is not None, "it was asked for"
    try:
        process.stdin.write(msgspec.json.encode(assignment) + b"\n")
        said = await process.stderr.read()
        code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    match code:
        case 0:
            return
        case _ if code == NEEDS_ONE_LANE:
            raise NeedsOneLane
        case _ if code == SUPERSEDED:
            raise Superseded(f"epoch {assignment.order.epoch} no longer has the job")
        case _:
            raise LaneFailed(f"exit code {code}: {said[-ERROR_BYTES_MAX:].decode(errors='replace').strip()}")


def main() -> int:
    """Do as the first line of standard input says; when the input ends before the work, so does the process."""
    collect_rarely()
    os.nice(GIVING_WAY)
    assignment = msgspec.json.decode(sys.stdin.buffer.readline(), type=Assignment)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        uvloop.run(_scan(assignment))
    except NeedsOneLane:
        return NEEDS_ONE_LANE
    except Superseded:
        return SUPERSEDED
    return 0


def _end_with_parent() -> None:
    # Not through sys.stdin: Python would wait for its lock when the work is done, and give up.
    while os.read(0, 1):
        pass
    os._exit(1)


async def _scan(assignment: Assignment) -> None:
    order = assignment.order
    model = next(model for model in READ_MODELS if (model.name, model.version) == (order.model, order.version))
    async with connect(
        assignment.url,
        role="dcf_engine",
        size_max=1,
        statement_cache_size=assignment.statement_cache_size,
        application_name="dcf rebuild",
        gives_way=True,
    ) as database:
        await scan(database, Codec(AGGREGATES), msgspec.structs.replace(model, build=order.build), order)


if __name__ == "__main__":
    sys.exit(main())
