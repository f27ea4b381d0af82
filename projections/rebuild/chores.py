"""The jobs that make no build: applying what was parked, and dropping what is no longer served."""

from __future__ import annotations

import msgspec
import structlog

from projections.dropping import drop_old
from projections.read_model import AnyModel
from projections.rebuild.jobs import Job, move_job
from projections.rebuild.steps import Tools
from projections.replay import Replayed, replay_parked


class Dropped(msgspec.Struct, frozen=True, rename="camel"):
    """The builds that are no more."""

    dropped: list[str]


async def do_chore(tools: Tools, job: Job, served: AnyModel) -> Job:
    """Take the job to its end. `served` is the build that is served. Doing it again changes nothing more."""
    if job.purpose == "drop_old":
        findings = msgspec.json.encode(Dropped(await drop_old(tools.database, job.model)))
    else:
        findings = msgspec.json.encode(await _replay_all(tools, served))
    structlog.get_logger().info("projection_chore_done", model=job.model, purpose=job.purpose)
    return await move_job(tools.database, job, "done", findings=findings)


async def _replay_all(tools: Tools, served: AnyModel) -> Replayed:
    """A part at a time, for as long as there is something to apply that can be."""
    applied = 0
    while True:
        replayed = await replay_parked(tools.database, tools.log, tools.codec, served)
        applied += replayed.applied
        if not replayed.applied:
            return Replayed(applied=applied, left=replayed.left)
