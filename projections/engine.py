"""The engine: under a lease, makes the tables that are missing and keeps every read model up with the log."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import msgspec
import structlog

from eventstore.codec import Codec
from eventstore.leases import Lease, Leases, Wanted
from eventstore.log import Log
from projections.catalogue import QUERIES, READ_MODELS
from projections.checkpoints import Superseded
from projections.monitor import Monitor
from projections.query import AnyQuery
from projections.read_model import AnyModel
from projections.rebuild import runner as rebuilds
from projections.rebuild.steps import Tools
from projections.views import Views
from projections.worker import Moved, Worker

LEASE_NAME = "projections"
# Rows are guarded by the epoch, so a lease may be short: it only says who should be at work.
LEASE_SECONDS = 3.0
RENEW_SECONDS = 1.0
STAND_BY_SECONDS = 0.5
PAUSE_SECONDS_LONGEST = 5.0


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine is put together from."""

    views: Views
    log: Log
    leases: Leases
    codec: Codec
    monitor: Monitor
    models: Sequence[AnyModel] = READ_MODELS
    queries: Sequence[AnyQuery] = QUERIES
    # Told of every batch, for readers in the same process.
    moved: Moved | None = None
    # Whether anybody waits for the read models, for an engine that can know it.
    awaited: Callable[[], bool] = lambda: True
    # For working on rebuilds too.
    tools: Tools | None = None


async def run(parts: Parts, stop: asyncio.Event) -> None:
    """Feed whenever the lease can be had, and work on rebuilds, until asked to stop. Whatever goes wrong is logged and
    tried again."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_feed(parts, stop))
        if parts.tools is not None:
            tasks.create_task(rebuilds.run(parts.tools, parts.models, stop))


async def _feed(parts: Parts, stop: asyncio.Event) -> None:
    holder = uuid4()
    pause = STAND_BY_SECONDS
    while not stop.is_set():
        try:
            if await _with_lease(parts, holder, stop):
                pause = STAND_BY_SECONDS
        except Superseded as problem:
            structlog.get_logger().warning("projections_superseded", problem=str(problem))
        except Exception:  # noqa: BLE001 - the engine goes on, whatever it was
            structlog.get_logger().exception("projections_interrupted", retry_in_seconds=pause)
            pause = min(pause * 2, PAUSE_SECONDS_LONGEST)
        await _sleep(pause, stop)


@asynccontextmanager
async def engine(parts: Parts) -> AsyncIterator[None]:
    """An engine at work for as long as the block runs."""
    stop = asyncio.Event()
    task = asyncio.create_task(run(parts, stop), name="projections engine")
    try:
        yield
    finally:
        stop.set()
        await task


async def _with_lease(parts: Parts, holder: UUID, stop: asyncio.Event) -> bool:
    """Lead if the lease is to be had; whether it was."""
    acquired = await parts.leases.acquire([Wanted(LEASE_NAME)], holder=holder, seconds=LEASE_SECONDS)
    if not acquired:
        return False
    lease = acquired[0]
    halt = asyncio.Event()
    tasks = [asyncio.create_task(_heartbeat(parts.leases, lease, halt)), asyncio.create_task(_until(stop, halt))]
    try:
        parts.monitor.leads = True
        await _lead(parts, lease, halt)
    finally:
        parts.monitor.leads = False
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(Exception):
            await parts.leases.release([lease])
    return True


async def _lead(parts: Parts, lease: Lease, halt: asyncio.Event) -> None:
    """Feed, and begin anew whenever somebody else has changed rows or what is served. Raises Superseded when a newer
    worker has taken over."""
    while not halt.is_set():
        models = await parts.views.prepare(parts.models, parts.queries)
        if not models:  # All that is served is of other versions, until rebuilds have made this code's.
            await _sleep(STAND_BY_SECONDS, halt)
            continue
        worker = Worker(
            parts.views,
            parts.log,
            parts.codec,
            models,
            epoch=lease.epoch,
            monitor=parts.monitor,
            moved=parts.moved,
            awaited=parts.awaited,
        )
        await worker.start()
        structlog.get_logger().info("projections_leading", epoch=lease.epoch)
        with contextlib.suppress(Superseded):
            await worker.follow(halt)


async def _heartbeat(leases: Leases, lease: Lease, halt: asyncio.Event) -> None:
    """Keep the lease. When it is lost, or cannot be kept, there may be another worker: then halt."""
    try:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            if not await leases.renew([lease], seconds=LEASE_SECONDS):
                structlog.get_logger().warning("projections_lease_lost", epoch=lease.epoch)
                return
    finally:
        halt.set()


async def _until(stop: asyncio.Event, halt: asyncio.Event) -> None:
    await stop.wait()
    halt.set()


async def _sleep(seconds: float, stop: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
