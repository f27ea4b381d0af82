"""Works on rebuild jobs, one at a time over all processes, and asks for those that changed code makes necessary."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from uuid import UUID, uuid4

import msgspec
import structlog

from eventstore.database import Database
from eventstore.leases import Lease, Wanted
from eventstore.session import HINDERED, LOST
from projections.active import active_versions
from projections.checkpoints import Superseded
from projections.read_model import AnyModel
from projections.rebuild.chores import do_chore
from projections.rebuild.jobs import Job, move_job, newest_job, open_jobs, request_job, take_job
from projections.rebuild.steps import Tools, carry_out, fail

LEASE_NAME = "projection rebuilds"
LEASE_SECONDS = 5.0
RENEW_SECONDS = 1.0
LOOK_SECONDS = 1.0
# A job that fails so often in one process for reasons of its own fails for good.
ATTEMPTS_MAX = 3

_BUILT = "SELECT max(c.build) FROM views.checkpoints c WHERE c.model = $1 AND c.version = $2"


async def run(tools: Tools, models: Sequence[AnyModel], stop: asyncio.Event) -> None:
    """Look for jobs until asked to stop. Whatever goes wrong is logged and tried again; a job that is interrupted is
    taken up where it was, here or elsewhere."""
    holder, attempts = uuid4(), dict[UUID, int]()
    while not stop.is_set():
        try:
            await request_changed(tools, models)
            while await _work(tools, models, holder, attempts, stop) and not stop.is_set():
                pass
        except Superseded as problem:
            structlog.get_logger().warning("rebuild_superseded", problem=str(problem))
        except (*LOST, *HINDERED) as problem:
            structlog.get_logger().warning("rebuild_interrupted", problem=repr(problem))
        except Exception:  # noqa: BLE001 - the next job may well go better
            structlog.get_logger().exception("rebuild_interrupted")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await stop.wait()


async def request_changed(tools: Tools, models: Sequence[AnyModel]) -> None:
    """Ask for the version this code has of each model of which another one is served.

    A newer one is made ready even while an older process leads; an older one only by who leads, so that two that run
    side by side for a while do not undo each other's work. What has failed or was canceled is left to the operators.
    """
    active = await active_versions(tools.database)
    for model in models:
        served = active.get(model.name)
        if served is None or served.version == model.version:
            continue
        if served.version < model.version or tools.leads():
            await _request(tools.database, model)


async def _request(database: Database, model: AnyModel) -> None:
    last = await newest_job(database, model.name)
    if last is not None and (
        last.ended_at is None or (last.version == model.version and last.step in ("failed", "canceled"))
    ):
        return
    built: int | None = await database.fetchval(_BUILT, model.name, model.version)
    structlog.get_logger().info("rebuild_requested", model=model.kind, because="its code has changed")
    await request_job(database, model, "rebuild" if built is None else "switch_back", back_to=built)


async def _work(
    tools: Tools, models: Sequence[AnyModel], holder: UUID, attempts: dict[UUID, int], stop: asyncio.Event
) -> bool:
    """Take the first job that can be had as far as it goes; whether there was one."""
    known = {(model.name, model.version): model for model in models}
    jobs = [job for job in await open_jobs(tools.database) if (job.model, job.version) in known]
    if not jobs:
        return False
    acquired = await tools.leases.acquire([Wanted(LEASE_NAME)], holder=holder, seconds=LEASE_SECONDS)
    if not acquired:
        return False
    lease, job = acquired[0], jobs[0]
    model = msgspec.structs.replace(known[job.model, job.version], build=job.build)
    try:
        taken = await take_job(tools.database, job, lease.epoch)
        try:
            await _while_held(tools, lease, taken, model, stop)
        except (Superseded, *LOST, *HINDERED):
            raise
        except Exception as problem:
            attempts[job.id] = attempts.get(job.id, 0) + 1
            if attempts[job.id] < ATTEMPTS_MAX:
                raise
            structlog.get_logger().exception("rebuild_failed", model=model.kind)
            await fail(tools.database, taken, f"{type(problem).__name__}: {problem}")
    finally:
        with contextlib.suppress(Exception):
            await tools.leases.release([lease])
    return True


async def _while_held(tools: Tools, lease: Lease, job: Job, model: AnyModel, stop: asyncio.Event) -> None:
    """Carry the job out, unless the lease is lost or somebody asks to stop first."""
    working = asyncio.create_task(_do(tools, job, model))
    holding = asyncio.create_task(_hold(tools, lease))
    stopping = asyncio.create_task(stop.wait())
    tasks = (working, holding, stopping)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _do(tools: Tools, job: Job, model: AnyModel) -> None:
    if job.purpose not in ("drop_old", "replay_parked"):
        await carry_out(tools, job, model)
        return
    served = (await active_versions(tools.database)).get(model.name)
    if job.cancel_requested:
        await move_job(tools.database, job, "canceled")
    elif served is None or (job.purpose == "replay_parked" and served.version != model.version):
        await fail(tools.database, job, "This version is not served: rebuild the read model first.")
    else:
        await do_chore(tools, job, msgspec.structs.replace(model, version=served.version, build=served.build))


async def _hold(tools: Tools, lease: Lease) -> None:
    """Keep the lease; the end of this call is that of the lease."""
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        if not await tools.leases.renew([lease], seconds=LEASE_SECONDS):
            return
