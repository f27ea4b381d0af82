"""What of the log the read models still have to read: until then it cannot leave the database."""

from __future__ import annotations

from eventstore.database import Queries
from projections.checkpoints import positions
from projections.rebuild.jobs import open_jobs

_PARKED = "SELECT count(*) FROM views.parked p WHERE p.position <= $1"


async def still_reading(queries: Queries, position: int) -> list[str]:
    """Who still needs events up to the position, each as one line for people; nobody when it is empty."""
    behind = [f"{kind} is at position {at}" for kind, at in sorted((await positions(queries)).items()) if at < position]
    jobs = [f"{job.kind} is being made ({job.step})" for job in await open_jobs(queries)]
    parked = await queries.fetchval(_PARKED, position)
    return behind + jobs + ([f"{parked} events are parked"] if parked else [])
