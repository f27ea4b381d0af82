"""`rebuild`: the deployments read model made anew beside the one that is served, in two processes."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from uuid import UUID

import msgspec
import psutil

from benchmarks.effort import Effort
from benchmarks.figures import Figures, median, note, ratio, rounded
from benchmarks.following import follow
from benchmarks.ground import Ground, ground
from benchmarks.log_reading import read_rate
from benchmarks.past import fill
from domain.catalogue import AGGREGATES
from eventstore.codec import Codec
from eventstore.database import Database, connect
from eventstore.leases import PostgresLeases, Wanted
from eventstore.postgres import PostgresLog
from process.garbage import collect_rarely
from projections.catalogue import QUERIES
from projections.deployments import DEPLOYMENTS
from projections.dropping import drop_old
from projections.engine import LEASE_NAME
from projections.rebuild import lane_process
from projections.rebuild.jobs import Job, find_job, request_job, take_job
from projections.rebuild.lane_process import Assignment, LaneProcesses, lane_processes
from projections.rebuild.steps import Tools, carry_out
from projections.rebuild.verification import Findings

EVENTS = 1_000_000
EVENTS_QUICK = 25_000
LANES = 2
# Filling takes most of the time there is.
ROUNDS_MAX = 2

_LOOK_SECONDS = 0.05
_MEBIBYTE = 1024 * 1024


class RebuildWrong(Exception):
    """The rebuild did not end as it should."""


async def rebuild(effort: Effort) -> Figures:
    """From the request to the switch, verification included; then once more over twice as many events."""
    collect_rarely()
    events = EVENTS_QUICK if effort.quick else EVENTS
    async with ground() as place, AsyncExitStack() as exits:
        note(f"the log is filled with {events} events")
        await fill(place.url, events)
        yard = await _yard(place, exits)
        await yard.rebuild()  # What the next ones are compared with.
        runs, reads = [], []
        for number in range(min(ROUNDS_MAX, effort.rounds)):
            note(f"round {number + 1}")
            reads.append(await asyncio.to_thread(read_rate, place.url))
            runs.append(await yard.rebuild())
        note("twice as many events")
        await fill(place.url, events, first=events + 1)
        await asyncio.to_thread(follow, place.url)
        doubled = await yard.rebuild()
    read = median(reads)
    ours = median(run.events_per_second for run in runs)
    return {
        "events": events,
        "events_per_second": ours,
        "ours_per_second": ours,
        "read_per_second": read,
        "share_of_read": ratio(ours, read),
        "scan_per_second": median(run.scan_per_second for run in runs),
        "peak_memory_mb": max(run.peak_memory_mb for run in runs),
        "doubled": {
            "events": 2 * events,
            "events_per_second": doubled.events_per_second,
            "peak_memory_mb": doubled.peak_memory_mb,
        },
    }


class Run(msgspec.Struct, frozen=True):
    """One rebuild. The memory is that of whichever process had most, this one's own counted too."""

    events_per_second: float
    scan_per_second: float
    peak_memory_mb: float


async def _yard(place: Ground, exits: AsyncExitStack) -> _Yard:
    database = await exits.enter_async_context(connect(place.url, role="dcf_engine", size_max=6))
    log = await exits.enter_async_context(PostgresLog(database, place.url, role="dcf_engine"))
    return _Yard(place.url, database, log, await exits.enter_async_context(lane_processes()))


class _Yard:
    def __init__(self, url: str, database: Database, log: PostgresLog, lanes: LaneProcesses) -> None:
        self._url, self._database, self._log, self._lanes = url, database, log, lanes
        self._leases, self._codec = PostgresLeases(database), Codec(AGGREGATES)

    async def rebuild(self) -> Run:
        """Make the next build and serve it. Raises RebuildWrong unless it is as the log and the build before it say."""
        job = await request_job(self._database, DEPLOYMENTS, "rebuild")
        # Longer than any rebuild here takes; each has a lease of its own.
        (lease,) = await self._leases.acquire([Wanted(f"rebuild {job.id}")], holder=job.id, seconds=30)
        job = await take_job(self._database, job, lease.epoch)
        _forget_peak()
        watch = _Watch(self._database, job.id)
        began = time.perf_counter()
        watching = asyncio.create_task(watch.run())
        try:
            done = await carry_out(self._tools(), job, msgspec.structs.replace(DEPLOYMENTS, build=job.build))
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        seconds = time.perf_counter() - began
        _check(done)
        await drop_old(self._database, DEPLOYMENTS.name)
        return Run(
            events_per_second=rounded(done.scan_to / seconds),
            scan_per_second=rounded(done.scan_to / watch.scan_seconds),
            peak_memory_mb=rounded(watch.peak_bytes / _MEBIBYTE),
        )

    def _tools(self) -> Tools:
        return Tools(
            database=self._database,
            log=self._log,
            leases=self._leases,
            codec=self._codec,
            queries=QUERIES,
            lanes=LANES,
            launch=lambda order: self._lanes.run(Assignment(self._url, 100, order)),
            lease_name=LEASE_NAME,
            leads=lambda: False,
        )


class _Watch:
    """Looks again and again how a job gets on, and how much memory its processes have had."""

    def __init__(self, database: Database, job_id: UUID) -> None:
        self._database, self._job_id = database, job_id
        self._scan: list[float] = []
        self.peak_bytes = 0

    @property
    def scan_seconds(self) -> float:
        return self._scan[-1] - self._scan[0] + _LOOK_SECONDS

    async def run(self) -> None:
        while True:
            job = await find_job(self._database, self._job_id)
            if job is not None and job.step == "scanning":
                self._scan.append(time.perf_counter())
            self.peak_bytes = max(self.peak_bytes, *map(_peak_bytes, _processes()))
            await asyncio.sleep(_LOOK_SECONDS)


def _processes() -> Iterable[int]:
    """This process, and those of the lanes."""
    yield os.getpid()
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if lane_process.__name__ in child.cmdline():
                yield child.pid


def _forget_peak() -> None:
    """From here on this process's peak is that of what comes: it has filled the log as well."""
    with suppress(OSError):  # proc(5); where it may not be written the peak is that of both.
        Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes(process_id: int) -> int:
    """The most memory that the process ever had; 0 when it has ended."""
    try:
        status = Path(f"/proc/{process_id}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _check(job: Job) -> None:
    findings = None if job.findings is None else msgspec.json.decode(job.findings, type=Findings)
    if job.step != "done" or findings is None or findings.differing or findings.wrong:
        raise RebuildWrong(f"{job.step}: {job.problem or findings}")
