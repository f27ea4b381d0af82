"""A rebuild step by step: scan in lanes, index, catch up, verify, switch. Each step can be begun again."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import asyncpg
import msgspec
import structlog
from prometheus_client import CollectorRegistry

from eventstore.archive.log_events import archived_to
from eventstore.archive.manifest import ArchiveDamaged
from eventstore.archive.whole import Shelf
from eventstore.archived import EventsArchived
from eventstore.codec import Codec
from eventstore.database import Connection, Database
from eventstore.leases import Leases
from eventstore.log import Log
from projections.active import active_versions
from projections.checkpoints import positions
from projections.dropping import drop_kind
from projections.feed import BATCH_EVENTS_MAX
from projections.monitor import Monitor
from projections.pace import Pace
from projections.query import AnyQuery
from projections.read_model import AnyModel
from projections.rebuild.jobs import Job, find_job, hold_job, move_job
from projections.rebuild.lane import LaneOrder, NeedsOneLane, scan
from projections.rebuild.switch import HOLD_SECONDS_MAX, bring_level, held_still, move_pointer, served_twin
from projections.rebuild.verification import Findings, Past, check_rows, compare, sample
from projections.tables import begin_checkpoint, begin_table, finish_table, install_queries
from projections.views import PostgresViews
from projections.worker import Worker

# A log this short is scanned before a second process has started.
ONE_LANE_EVENTS_MAX = 20_000
INDEX_SECONDS_MAX = 3_600.0
LOOK_SECONDS = 0.25
# So close to the end of the log the rest is applied while the others wait.
LEVEL_EVENTS_MAX = 500

_LANES = """
    INSERT INTO views.rebuild_lanes (rebuild_id, lane, epoch)
    SELECT $1, n, $2 FROM generate_series(0, $3::int - 1) n
        ON CONFLICT (rebuild_id, lane) DO NOTHING
"""
_FORGET_LANES = "DELETE FROM views.rebuild_lanes WHERE rebuild_id = $1"
_SCAN_TO = "UPDATE views.rebuilds SET scan_to = $2 WHERE id = $1"
_RESUME = """
    UPDATE views.rebuilds
       SET resumed_at = clock_timestamp(),
           resumed_from = (SELECT avg(n.position) FROM views.rebuild_lanes n WHERE n.rebuild_id = $1)
     WHERE id = $1
"""

Launch = Callable[[LaneOrder], Awaitable[None]]


class Canceled(Exception):
    """The job was asked to be given up."""


class BuildWrong(Exception):
    """The build is not what the log says; it is not served."""


class Tools(msgspec.Struct, frozen=True, kw_only=True):
    """What a rebuild works with. `database` is a pool of its own, of at least five sessions that act as dcf_engine;
    `launch` scans one lane, in another process perhaps; with a `pace`, others come first; archived events come from the `shelf`. `leads` says whether this process feeds what is served, whose
    lease has the name `lease_name`."""

    database: Database
    log: Log
    leases: Leases
    codec: Codec
    queries: Sequence[AnyQuery]
    lanes: int
    launch: Launch | None
    lease_name: str
    leads: Callable[[], bool]
    one_lane_events_max: int = ONE_LANE_EVENTS_MAX
    pace: Pace | None = None
    shelf: Shelf = msgspec.field(default_factory=lambda: Shelf(None))


async def carry_out(tools: Tools, job: Job, model: AnyModel) -> Job:
    """Take the job, which was taken under its epoch, to its end. `model` is the build it is about.

    Raises Superseded when the job is in other hands, and whatever the database raises when it is away: begin again then.
    """
    try:
        return await _Rebuild(tools, job, model).run()
    except Canceled:
        return await _give_up(tools.database, job, "canceled", "")
    except BuildWrong as problem:
        return await _give_up(tools.database, job, "failed", str(problem))
    except EventsArchived as problem:
        return await _give_up(tools.database, job, "failed", f"{problem.detail} {problem.remedy}")
    except ArchiveDamaged as damaged:
        return await _give_up(tools.database, job, "failed", f"{damaged}. Restore the file from a backup.")


async def fail(database: Database, job: Job, problem: str) -> Job:
    """End the job, and drop what it has made."""
    return await _give_up(database, job, "failed", problem)


async def _give_up(database: Database, job: Job, step: str, problem: str) -> Job:
    async with database.transaction() as connection:
        await hold_job(connection, job)
        if job.purpose in ("rebuild", "verify"):
            await drop_kind(connection, job.kind)
        await connection.execute(_FORGET_LANES, job.id)
        return await move_job(connection, job, "canceled" if step == "canceled" else "failed", problem=problem)


class _Rebuild:
    def __init__(self, tools: Tools, job: Job, model: AnyModel) -> None:
        self._tools, self._job, self._model = tools, job, model
        self._database = tools.database

    async def run(self) -> Job:
        while self._job.ended_at is None:
            structlog.get_logger().info("rebuild_step", model=self._model.kind, step=self._job.step)
            match self._job.step:
                case "queued":
                    await self._begin(self._tools.lanes)
                case "scanning":
                    await self._scan()
                case "indexing":
                    await self._index()
                case "catching_up" | "verifying" | "switching":
                    await self._finish()
                case "done" | "failed" | "canceled":
                    break
        return self._job

    async def _begin(self, lanes: int) -> None:
        """Make the empty table, and the lanes that will fill it from the log's beginning."""
        await archived_to(self._database, self._tools.shelf)
        head = await self._tools.log.head()
        lanes = 1 if head <= self._tools.one_lane_events_max or self._gives_way else lanes
        async with self._database.transaction() as connection:
            await hold_job(connection, self._job)
            await drop_kind(connection, self._model.kind)
            await begin_table(connection, self._model)
            await connection.execute(_FORGET_LANES, self._job.id)
            await connection.execute(_LANES, self._job.id, self._job.epoch, lanes)
            await connection.execute(_SCAN_TO, self._job.id, head)
            self._job = await move_job(connection, self._job, "scanning")

    async def _scan(self) -> None:
        await self._database.execute(_RESUME, self._job.id)
        job, model = self._job, self._model
        orders = [
            LaneOrder(
                job_id=job.id,
                epoch=job.epoch,
                model=job.model,
                version=job.version,
                build=job.build,
                lane=lane,
                lanes=job.lanes,
                scan_to=job.scan_to,
            )
            for lane in range(job.lanes)
        ]
        launch = self._tools.launch if job.scan_to > self._tools.one_lane_events_max else None
        try:
            await self._unless_canceled(
                [
                    launch(order)
                    if launch
                    else scan(
                        self._database, self._tools.codec, model, order, self._tools.pace, shelf=self._tools.shelf
                    )
                    for order in orders
                ]
            )
        except NeedsOneLane as reason:
            structlog.get_logger().warning("rebuild_in_one_lane", model=model.kind, reason=str(reason))
            await self._begin(1)
            return
        self._job = await move_job(self._database, self._job, "indexing")

    async def _unless_canceled(self, lanes: Sequence[Awaitable[None]]) -> None:
        """Wait for all lanes; the first that fails, or the job being canceled, ends the others."""
        tasks = [asyncio.ensure_future(lane) for lane in lanes]
        try:
            pending = set(tasks)
            while pending:
                done, pending = await asyncio.wait(pending, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    task.result()
                await self._stop_if_canceled()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _stop_if_canceled(self) -> None:
        job = await find_job(self._database, self._job.id)
        if job is None or job.cancel_requested:
            raise Canceled

    async def _index(self) -> None:
        """Indexes, the functions that ask, and the checkpoint from which a worker goes on."""
        await finish_table(self._database, self._model, seconds_max=INDEX_SECONDS_MAX, pace=self._tools.pace)
        async with self._database.transaction() as connection:
            await hold_job(connection, self._job)
            await install_queries(connection, self._model, self._tools.queries)
            await begin_checkpoint(connection, self._model, self._job.scan_to)
            await connection.execute(_FORGET_LANES, self._job.id)
            self._job = await move_job(connection, self._job, "catching_up")

    async def _finish(self) -> None:
        """Catch up with a worker of the build's own, verify, and move the pointer."""
        worker = Worker(
            PostgresViews(self._database),
            self._tools.log,
            self._tools.codec,
            [self._model],
            epoch=self._job.epoch,
            monitor=Monitor(CollectorRegistry()),
        )
        await worker.start()
        try:
            await self._catch_up(worker)
            match self._job.purpose:
                case "switch_back":
                    await self._switch(worker)
                case "verify":
                    await self._verify(worker)
                    await self._drop_again()
                case "rebuild":
                    findings = await self._verify(worker)
                    if not findings.are_good:
                        raise BuildWrong(f"not what the log says: {', '.join(findings.wrong)}")
                    await self._switch(worker)
                case "replay_parked" | "drop_old":
                    raise TypeError("no build is made for it")
        finally:
            await worker.close()

    async def _catch_up(self, worker: Worker) -> None:
        """Come close to where the build that is served stands, never ahead of it when both ought to show the same."""
        behind: float = math.inf
        while True:
            await self._stop_if_canceled()
            goal = await self._goal()
            before, behind = behind, goal - worker.position
            if behind <= LEVEL_EVENTS_MAX:
                return
            began = time.monotonic()
            await worker.turn(up_to=min(goal, worker.position + self._stretch))
            # Whoever falls back has no time to rest: it would never arrive.
            if self._tools.pace is not None and behind < before:
                await self._tools.pace.rest(time.monotonic() - began)

    @property
    def _gives_way(self) -> bool:
        return self._tools.pace is not None and self._tools.pace.duty < 1.0

    @property
    def _stretch(self) -> int:
        """How much is applied between two looks at whether to go on."""
        return LEVEL_EVENTS_MAX if self._gives_way else 4 * BATCH_EVENTS_MAX

    async def _goal(self) -> int:
        twin = await served_twin(self._database, self._model)
        if twin is not None:
            return (await positions(self._database)).get(twin.kind, 0)
        return await self._tools.log.head()

    async def _verify(self, worker: Worker) -> Findings:
        if self._job.findings is not None:
            return msgspec.json.decode(self._job.findings, type=Findings)
        self._job = await move_job(self._database, self._job, "verifying")
        findings = await self._look_closely(worker)
        self._job = await move_job(self._database, self._job, "verifying", findings=msgspec.json.encode(findings))
        return findings

    async def _look_closely(self, worker: Worker) -> Findings:
        while True:
            async with self._looking() as snapshot, self._looking() as another:
                twin = await served_twin(self._database, self._model)
                if await self._seen_level(worker, twin, (snapshot, another)):
                    return await self._found((snapshot, another), twin, worker.position)
            await self._stop_if_canceled()
            await asyncio.sleep(LOOK_SECONDS)
            await self._catch_up(worker)

    def _looking(self) -> AbstractAsyncContextManager[Connection]:
        return self._database.transaction(isolation="repeatable_read", readonly=True)

    async def _seen_level(self, worker: Worker, twin: AnyModel | None, snapshots: Sequence[Connection]) -> bool:
        """Take the snapshots while both builds stand at the very same position; False: try again with others."""
        if twin is None:
            await _take(snapshots)
            return True
        try:
            async with (
                asyncio.timeout(HOLD_SECONDS_MAX),
                held_still(self._database, twin, self._model) as (_, position),
            ):
                if worker.position > position:
                    return False
                await bring_level(worker, position)
                await _take(snapshots)
        except (TimeoutError, asyncpg.LockNotAvailableError):
            return False
        return True

    async def _found(self, snapshots: Sequence[Connection], twin: AnyModel | None, position: int) -> Findings:
        snapshot, another = snapshots
        findings, chance = Findings(), random.Random(self._job.id.int)  # noqa: S311 - which rows are looked at is no secret
        codec, model = self._tools.codec, self._model
        # Asked for after the snapshots were taken: what has left by now is on the shelf, whether they still show it or not.
        past = Past(snapshot, await archived_to(self._database, self._tools.shelf), self._tools.shelf)
        if twin is not None:
            differing = await compare(snapshot, model, another, twin, findings)
            await check_rows(past, codec, model, position, differing, findings)
        await sample(past, codec, model, position, findings, chance)
        return findings

    async def _switch(self, worker: Worker) -> None:
        self._job = await move_job(self._database, self._job, "switching")
        while True:
            await self._stop_if_canceled()
            await self._catch_up(worker)
            if await self._may_switch():
                with contextlib.suppress(TimeoutError, asyncpg.LockNotAvailableError):
                    async with asyncio.timeout(HOLD_SECONDS_MAX):
                        await self._switch_now(worker)
                        return
            # Otherwise another process leads whose code could not feed this version: be ready for when it goes.
            await asyncio.sleep(LOOK_SECONDS)

    async def _may_switch(self) -> bool:
        served = (await active_versions(self._database)).get(self._model.name)
        if served is None or served.version == self._model.version or self._tools.leads():
            return True
        return not await self._tools.leases.held([self._tools.lease_name])

    async def _switch_now(self, worker: Worker) -> None:
        served = (await active_versions(self._database)).get(self._model.name)
        old = msgspec.structs.replace(self._model, version=served.version, build=served.build) if served else None
        async with held_still(self._database, old, self._model) as (connection, position):
            await bring_level(worker, position)
            await move_pointer(connection, self._job, self._model)
            done = await move_job(connection, self._job, "done")
        self._job = done
        structlog.get_logger().info("projection_activated", model=self._model.kind)

    async def _drop_again(self) -> None:
        async with self._database.transaction() as connection:
            await hold_job(connection, self._job)
            await drop_kind(connection, self._model.kind)
            self._job = await move_job(connection, self._job, "done")


async def _take(snapshots: Sequence[Connection]) -> None:
    """What is seen from now on is what is there now."""
    for snapshot in snapshots:
        await snapshot.execute("SELECT")
