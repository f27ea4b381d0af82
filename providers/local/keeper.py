"""Keeps one release's process running: starts it, waits until it is healthy, and starts it again when it dies."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import aiohttp
import msgspec
import structlog

from providers.local.engine import Command, EngineUnavailable
from providers.local.function_log import FunctionLog
from providers.local.network import Network, NetworkShut
from providers.local.process_group import NotStarted, ProcessGroup
from providers.local.records import ProcessMark
from providers.local.relay import session
from providers.local.secrets import SecretsLocked

Status = Literal["starting", "healthy", "unhealthy", "stopped"]

STOP_SECONDS_MAX = 10.0
DRAIN_SECONDS_MAX = 10.0
HEALTH_SECONDS_MAX = 5.0
HEALTH_POLL_SECONDS = 0.1
STATUS_MAX = 499
LOG_LINES_SHOWN = 20
# While the secrets that a process needs cannot be opened yet, it is tried so often to start it.
LOCKED_SECONDS = 1.0

log = structlog.get_logger()


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How a process that dies is started again: after the first delay, doubled each time, up to the longest.

    A release that never served is given up after `attempts_max`; a serving one is reported unhealthy then, and tried on.
    A process that lived for `settled_seconds` is trusted again.
    """

    attempts_max: int = 3
    delay_seconds_first: float = 0.5
    delay_seconds_max: float = 30.0
    settled_seconds: float = 30.0

    def delay_seconds(self, failures: int) -> float:
        doublings = min(failures - 1, 16)
        return min(self.delay_seconds_first * float(2**doublings), self.delay_seconds_max)


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be kept running. `command` gives, for a port, what to start."""

    name: str
    command: Callable[[int], Awaitable[Command]]
    cwd: Path
    # Where this machine keeps what it runs, which is nobody else's business.
    store: Path
    log: FunctionLog
    health_path: str
    start_seconds_max: float
    memory_mb_max: int
    # A port that nothing listens on and no other release was given.
    free_port: Callable[[], int]
    # Makes durable which process runs on which port, before that is relied on.
    note: Callable[[ProcessMark | None, int], None]
    # The network of a process, None when it is ours; with True it is waited for, since it was started to have its own.
    enter: Callable[[int, bool], Awaitable[Network | None]]


class Keeper:
    """One per deployment that should run. `port` is where the healthy process listens."""

    def __init__(self, charge: Charge, client: aiohttp.ClientSession, patience: Patience) -> None:
        self.status: Status = "starting"
        self.message = ""
        self.port = 0
        self.serving = False  # Whether its function's requests come here.
        self.under_way = 0  # Requests being answered.
        self.restarts = 0
        self._charge = charge
        self._session = client
        self._network: Network | None = None
        self._inside: aiohttp.ClientSession | None = None
        self._entering: asyncio.Task[None] | None = None
        self._patience = patience
        self._group: ProcessGroup | None = None
        self._killed_because = ""
        # What it last answered when asked for its health; 0: nothing.
        self._health_status = 0
        self._idle = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None
        self._log = log.bind(deployment=charge.name)

    def start(self, adopted: ProcessGroup | None = None, port: int = 0) -> None:
        """Begin, with a process found running on `port`, if any."""
        self._group, self.port = adopted, port
        self._keeping = asyncio.create_task(self._keep())

    @property
    def group(self) -> ProcessGroup | None:
        """The process that is running now."""
        return self._group if self._group and not self._group.ended.done() else None

    @property
    def session(self) -> aiohttp.ClientSession:
        """A client that reaches the process."""
        return self._inside or self._session

    @property
    def open_socket(self) -> Callable[[object], socket.socket] | None:
        """What makes sockets that reach the process; None: any does."""
        return self._open_inside if self._inside else None

    def watch(self, resident_bytes: int) -> None:
        """Look at what the process uses, given the memory of its whole group; kill it when that is too much."""
        limit = self._charge.memory_mb_max * 1024 * 1024
        if self.group and resident_bytes > limit:
            used = resident_bytes // (1024 * 1024)
            self._killed_because = f"it used {used} MB of memory, and its limit is {self._charge.memory_mb_max} MB"
            self.group.signal(signal.SIGKILL)
        if self._network and self._network.is_lost and (self._entering is None or self._entering.done()):
            self._entering = asyncio.create_task(self._enter_again(self._network))
        self._charge.log.turn()

    def entered(self) -> None:
        """A request begins."""
        self.under_way += 1

    def left(self) -> None:
        """A request has ended."""
        self.under_way -= 1
        if self.under_way == 0:
            self._idle.set()

    async def stop(self, seconds_max: float = STOP_SECONDS_MAX, drain_seconds_max: float = DRAIN_SECONDS_MAX) -> None:
        """Let the requests under way end, then end the process. Nothing of its group is left afterwards."""
        if self._keeping:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        await self._drained(drain_seconds_max)
        if self._group:
            await self._group.stop(seconds_max)
            self._charge.note(None, 0)
        self.status = "stopped"
        await self._close_network()
        if self._inside:
            await self._drained(seconds_max)  # Who came at the last moment is told that nobody answers.
            await self._inside.close()

    async def _drained(self, seconds_max: float) -> None:
        self._idle.clear()
        if self.under_way:
            try:
                async with asyncio.timeout(seconds_max):
                    await self._idle.wait()
            except TimeoutError:
                self._log.warning("requests_cut_off", requests=self.under_way)

    async def _keep(self) -> None:
        failures = 0
        while True:
            began = asyncio.get_running_loop().time()
            try:
                reason = await self._live()
            except SecretsLocked as locked:
                self.status, self.message = "starting", f"The function waits for its secrets: {locked.message}"
                await asyncio.sleep(LOCKED_SECONDS)
                continue
            except Exception as error:  # noqa: BLE001 - whatever it was, the function is started again
                self._log.error("keeping_failed", exc_info=error)
                reason = f"it could not be kept: {type(error).__name__}"
            if asyncio.get_running_loop().time() - began >= self._patience.settled_seconds:
                failures = 0
            failures += 1
            self._report(reason, failures)
            await self._close_network()
            if self.status == "unhealthy" and not self.serving:
                return
            await asyncio.sleep(self._patience.delay_seconds(failures))
            self.restarts += 1

    async def _live(self) -> str:
        """One life of the process, from its start to its end; why it ended. Raises SecretsLocked when it cannot begin yet."""
        try:
            group = await self._adopted() or await self._start()
        except SecretsLocked:
            raise
        except (OSError, NotStarted, EngineUnavailable, NetworkShut) as error:
            return f"it could not be started: {error}"
        if not await self._becomes_healthy(group):
            if group.ended.done():
                return self._ending(group)
            await group.stop(STOP_SECONDS_MAX)
            return f"{self._charge.health_path} {self._answered()} within {self._charge.start_seconds_max:g} seconds"
        self.status, self.message = "healthy", ""
        self._log.info("function_healthy", port=self.port, pid=group.mark.pid)
        await asyncio.wait([group.ended])
        return self._ending(group)

    async def _adopted(self) -> ProcessGroup | None:
        if (group := self.group) is not None:
            await self._enter(group, apart=False)
        return group

    async def _enter(self, group: ProcessGroup, *, apart: bool) -> None:
        try:
            self._network = await self._charge.enter(group.mark.pid, apart)
        except NetworkShut:
            await group.stop(STOP_SECONDS_MAX)
            raise
        if self._network and self._inside is None:
            self._inside = session(open_socket=self._open_inside)

    def _open_inside(self, _: object) -> socket.socket:
        if self._network is None:
            raise OSError("the function does not run")
        return self._network.open_socket()

    async def _enter_again(self, network: Network) -> None:
        self._log.warning("function_network_lost")
        with suppress(NetworkShut):
            await network.enter()

    async def _close_network(self) -> None:
        if self._entering:
            self._entering.cancel()
            await asyncio.wait([self._entering])
        if self._network:
            await self._network.close()
        self._network = self._entering = None

    async def _start(self) -> ProcessGroup:
        self._killed_because, self._health_status = "", 0
        self.port = self._charge.free_port()
        self._charge.cwd.mkdir(exist_ok=True, mode=0o700)
        command = await self._charge.command(self.port)
        self._group = ProcessGroup.start(
            command.argv,
            environment=command.environment,
            cwd=self._charge.cwd,
            log=self._charge.log.path,
            held=command.apart,
        )
        self._charge.note(self._group.mark, self.port)
        if command.apart:
            await self._enter(self._group, apart=True)
            self._group.release()
        return self._group

    def _answered(self) -> str:
        """What came of asking for its health, in words that say what would do."""
        if self._health_status:
            return f"answered {self._health_status}, and never a status under 500"
        return "was not answered by anything on 0.0.0.0:$PORT"

    async def _becomes_healthy(self, group: ProcessGroup) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._charge.start_seconds_max
        while loop.time() < deadline and not group.ended.done():
            if await self._answers(min(HEALTH_SECONDS_MAX, deadline - loop.time())):
                return True
            await asyncio.wait([group.ended], timeout=HEALTH_POLL_SECONDS)
        return False

    async def _answers(self, seconds_max: float) -> bool:
        url = f"http://127.0.0.1:{self.port}{self._charge.health_path}"
        timeout = aiohttp.ClientTimeout(total=max(0.1, seconds_max))
        try:
            async with self.session.get(url, timeout=timeout, allow_redirects=False) as response:
                self._health_status = response.status
                return response.status <= STATUS_MAX
        except (aiohttp.ClientError, TimeoutError):
            return False

    def _ending(self, group: ProcessGroup) -> str:
        code = group.ended.result()
        if self._killed_because:
            return self._killed_because
        if code is None:
            return "it ended"
        # A shell that waited for it says so in its own way.
        number = -code if code < 0 else code - 128
        return f"it was ended by signal {number}" if 0 < number <= 64 else f"it ended with exit code {code}"

    def _report(self, reason: str, failures: int) -> None:
        self._charge.log.add(f"-- {reason}")
        self._log.warning("function_died", because=reason, failures=failures)
        timed_out = reason.startswith(self._charge.health_path) and not self.serving
        over = timed_out or failures >= self._patience.attempts_max
        self.status = "unhealthy" if over else "starting"
        shown = self._charge.log.tail(LOG_LINES_SHOWN)
        place = f"{self._charge.store}/"
        shown = shown.replace(f"file://{place}", "").replace(place, "")
        self.message = f"The function does not stay up: {reason}. Its last words:\n{shown}"
