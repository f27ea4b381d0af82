"""One process kept running: started, its lines passed on, started again when it ends, stopped when asked."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import structlog

# From one restart to the next the wait doubles between these; after a quiet minute it starts over.
BACKOFF_SECONDS_MIN, BACKOFF_SECONDS_MAX = 0.2, 10.0
QUIET_SECONDS = 60.0
# What one log line may be long; the rest of it follows on the next.
LINE_BYTES_MAX = 1_000_000

# Where the modules are started from, so that `api` is ours whatever else is installed.
ROOT = Path(__file__).resolve().parent.parent

_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


class Child:
    """A module of ours run as `python -m`, named in front of each of its lines."""

    def __init__(
        self, name: str, module: Sequence[str], environment: Mapping[str, str], write: Callable[[str], None]
    ) -> None:
        self.name = name
        self._module = module
        self._environment = dict(environment)
        self._write = write
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._log = structlog.get_logger().bind(child=name)

    @property
    def pid(self) -> int | None:
        """The process's number while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def keep(self) -> None:
        """Run it, again and again, until `stop`."""
        backoff = BACKOFF_SECONDS_MIN
        while not self._stopping.is_set():
            began = time.monotonic()
            status = await self._run()
            if self._stopping.is_set():
                return
            backoff = BACKOFF_SECONDS_MIN if time.monotonic() - began > QUIET_SECONDS else backoff
            self._log.warning("process_ended", status=_said(status), again_in_seconds=backoff)
            with suppress(TimeoutError):
                async with asyncio.timeout(backoff):
                    await self._stopping.wait()
            backoff = min(2 * backoff, BACKOFF_SECONDS_MAX)

    async def stop(self, seconds_max: float) -> None:
        """Ask it to stop, and end it when it has not done so in time."""
        self._stopping.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(seconds_max):
                await process.wait()
        except TimeoutError:
            self._log.warning("process_did_not_stop", seconds=seconds_max)
            with suppress(ProcessLookupError):
                process.kill()

    async def _run(self) -> int:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *self._module,
            cwd=ROOT,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LINE_BYTES_MAX,
            # Ctrl-C on the terminal is for the supervisor, which stops its children in order.
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
        if self._stopping.is_set():
            self._process.terminate()
        await self._pass_on(self._process)
        return await self._process.wait()

    async def _pass_on(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            return
        ended = asyncio.create_task(process.wait())
        while True:
            line = asyncio.create_task(process.stdout.readline())
            # A grandchild may keep the pipe open; the child's own end is what counts.
            await asyncio.wait({line, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not line.done():
                await asyncio.wait({line}, timeout=0.2)
            if not line.done() or line.exception() or not line.result():
                line.cancel()
                return
            self._write(f"{self.name:<11} | {line.result().decode(errors='replace').rstrip()}\n")


def _end_with_parent() -> None:
    """When the supervisor is killed its children are told to stop, by the kernel."""
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)


def _said(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
