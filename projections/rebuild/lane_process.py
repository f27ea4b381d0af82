"""Lanes in processes of their own: `python -m projections.rebuild.lane_process`, one order after another on standard input."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Literal

import msgspec
import uvloop

from domain.catalogue import AGGREGATES
from eventstore.archive.whole import Shelf
from eventstore.codec import Codec
from eventstore.database import GIVING_WAY, connect
from process.garbage import collect_rarely
from projections.catalogue import READ_MODELS
from projections.checkpoints import Superseded
from projections.pace import Pace
from projections.rebuild.lane import LaneOrder, NeedsOneLane, scan

ERROR_BYTES_MAX = 4_000
# Another read model's order often follows; making a process takes as long as a small log.
IDLE_SECONDS_MAX = 5.0
_END_SECONDS_MAX = 5.0

_ORDER_BYTES_MAX = 65_536


class Assignment(msgspec.Struct, frozen=True):
    """What the process is told: where the database is, what to do there, whether others come first, and where
    archived parts of the log are."""

    url: str
    statement_cache_size: int
    order: LaneOrder
    paced: bool = False
    archive_dir: str | None = None


class Report(msgspec.Struct, frozen=True):
    """What became of an order. `said` is the end of what went wrong."""

    outcome: Literal["done", "needs_one_lane", "superseded", "failed"]
    said: str = ""


class LaneFailed(Exception):
    """A lane ended as it should not. The message is the end of what it said."""


@asynccontextmanager
async def lane_processes() -> AsyncIterator[LaneProcesses]:
    """Processes that are gone when the block ends, however it does, and when this process does."""
    processes = LaneProcesses()
    try:
        yield processes
    finally:
        await processes.close()


class LaneProcesses:
    """Each works on one order at a time. One without an order waits a little for the next."""

    def __init__(self) -> None:
        self._idle: list[tuple[_Process, asyncio.TimerHandle]] = []

    async def run(self, assignment: Assignment) -> None:
        """Scan in a process, which this call's being canceled ends. Raises NeedsOneLane, Superseded, or LaneFailed."""
        process = self._waiting() or await _Process.start()
        try:
            report = await process.carry_out(assignment)
        except BaseException:
            await process.kill()
            raise
        self._keep(process)
        match report.outcome:
            case "done":
                return
            case "needs_one_lane":
                raise NeedsOneLane(report.said)
            case "superseded":
                raise Superseded(report.said)
            case "failed":
                raise LaneFailed(report.said)

    async def close(self) -> None:
        """End those that wait."""
        while (process := self._waiting()) is not None:
            await process.end()

    def _waiting(self) -> _Process | None:
        if not self._idle:
            return None
        process, timer = self._idle.pop()
        timer.cancel()
        return process

    def _keep(self, process: _Process) -> None:
        kept = (process, asyncio.get_running_loop().call_later(IDLE_SECONDS_MAX, lambda: self._let_go(process)))
        self._idle.append(kept)

    def _let_go(self, process: _Process) -> None:
        self._idle = [kept for kept in self._idle if kept[0] is not process]
        process.dismiss()


class _Process:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None, "it was asked for"
        assert process.stdout is not None, "it was asked for"
        assert process.stderr is not None, "it was asked for"
        self._process, self._stdin, self._stdout = process, process.stdin, process.stdout
        self._said = bytearray()
        self._listening = asyncio.create_task(self._listen(process.stderr))

    @classmethod
    async def start(cls) -> _Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            __name__,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        with suppress(OSError):  # At once: that it starts is work too.
            os.setpriority(os.PRIO_PROCESS, process.pid, GIVING_WAY)
        return cls(process)

    async def carry_out(self, assignment: Assignment) -> Report:
        """Raises LaneFailed when the process ends before it reports."""
        self._stdin.write(msgspec.json.encode(assignment) + b"\n")
        line = await self._stdout.readline()
        if line:
            return msgspec.json.decode(line, type=Report)
        code = await self._process.wait()
        await self._listening
        raise LaneFailed(f"exit code {code}: {self._said.decode(errors='replace').strip()}")

    def dismiss(self) -> None:
        """Have it end by itself."""
        self._stdin.close()

    async def end(self) -> None:
        self.dismiss()
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_SECONDS_MAX):
                await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def _listen(self, stderr: asyncio.StreamReader) -> None:
        while said := await stderr.read(ERROR_BYTES_MAX):
            self._said += said
            del self._said[:-ERROR_BYTES_MAX]


def main() -> int:
    """Do as each line of standard input says, and report each on a line; when the input ends, so does the process."""
    collect_rarely()
    uvloop.run(_work())
    return 0


async def _work() -> None:
    # Whatever else is printed is no report.
    reports, sys.stdout = sys.stdout.buffer, sys.stderr
    orders, ordered = asyncio.Queue[bytes](), threading.Event()
    loop = asyncio.get_running_loop()
    threading.Thread(target=_read_orders, args=(loop, orders, ordered), daemon=True).start()
    while True:
        assignment = msgspec.json.decode(await orders.get(), type=Assignment)
        report = await _report(assignment)
        ordered.clear()  # Nobody gives the next order before this one is reported.
        reports.write(msgspec.json.encode(report) + b"\n")
        reports.flush()


def _read_orders(loop: asyncio.AbstractEventLoop, orders: asyncio.Queue[bytes], ordered: threading.Event) -> None:
    # Not through sys.stdin: Python would wait for its lock when the work is done, and give up.
    rest = b""
    while data := os.read(0, _ORDER_BYTES_MAX):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            ordered.set()
            loop.call_soon_threadsafe(orders.put_nowait, line)
    os._exit(1 if ordered.is_set() else 0)


async def _report(assignment: Assignment) -> Report:
    try:
        await _scan(assignment)
    except NeedsOneLane as reason:
        return Report("needs_one_lane", str(reason))
    except Superseded as reason:
        return Report("superseded", str(reason))
    except Exception:  # noqa: BLE001 - whoever gave the order tells of it
        return Report("failed", traceback.format_exc()[-ERROR_BYTES_MAX:])
    return Report("done")


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
        pace = Pace() if assignment.paced else None
        shelf = Shelf(None if assignment.archive_dir is None else Path(assignment.archive_dir))
        await scan(
            database, Codec(AGGREGATES), msgspec.structs.replace(model, build=order.build), order, pace, shelf=shelf
        )


if __name__ == "__main__":
    sys.exit(main())
