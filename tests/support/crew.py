"""The processes of a whole service, several runners among them: each may be killed at any instant, and comes back at once."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import SystemRandom

import httpx

from eventstore.database import connect
from eventstore.embedded import Place
from eventstore.postgres import PostgresLog
from tests.support.service import ROOT, Service

MODULES = {"agent": "providers.local", "projections": "projections", "api": "api"}
STOP_SECONDS_MAX = 120
# Whoever is asked to end is gone after ten seconds; a runner has handed over after eight (DCF_STOP_SECONDS_MAX).
GONE_SECONDS_MAX = 10.0
_LOOK_SECONDS = 0.01
# Below those that the kernel gives to outgoing connections.
PORTS = (15_000, 30_000)


class Crew(Service):
    """A Service without a supervisor: `names` are those of its processes, the runners' `runner-1` and so on."""

    def __init__(self, data_dir: Path, *, runners: int, **environment: str) -> None:
        super().__init__(data_dir, **_fixed_ports(), **environment)
        self.modules = {**MODULES, **{f"runner-{n}": "runner" for n in range(1, runners + 1)}}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def answers(self) -> bool:
        """Whether the API is there."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.ports['api']}/health/live", timeout=2).status_code == 200
        except (httpx.HTTPError, OSError, ValueError, KeyError):
            return False

    @property
    def runners(self) -> list[str]:
        return [name for name in self.modules if name.startswith("runner")]

    def start(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        for name in self.modules:
            self.launch(name)
        self.await_ready()

    def launch(self, name: str) -> None:
        """Start the process of that name, which does not run."""
        with (self.data_dir / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", self.modules[name]],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill(self, module: str) -> None:
        """End the process of that name at once, and start another."""
        self.end(module)
        self.launch(module)

    def end(self, name: str) -> None:
        """End the process of that name at once."""
        process = self._processes[name]
        process.kill()
        process.wait()

    def replace(self, *names: str) -> dict[str, float]:
        """Ask these processes at once to end, and start others; how many seconds each took. Raises AssertionError beyond ten,
        less those for which it waited for a processor that others had."""
        began, waited = time.monotonic(), {name: self._waited_seconds(name) for name in names}
        for name in names:
            self._processes[name].send_signal(signal.SIGTERM)
        seconds: dict[str, float] = {}
        while left := [name for name in names if name not in seconds]:
            assert time.monotonic() - began < STOP_SECONDS_MAX, f"{left} do not end"
            time.sleep(_LOOK_SECONDS)
            for name in filter(self._has_ended, left):
                seconds[name] = time.monotonic() - began - (self._waited_seconds(name) - waited[name])
        for name in names:
            status = self._processes[name].wait()
            assert status in (0, -signal.SIGTERM), f"{name} ended with {status}"
            assert seconds[name] < GONE_SECONDS_MAX, f"{name} took {seconds[name]:.1f} s"
            self.launch(name)
        return seconds

    def _has_ended(self, name: str) -> bool:
        """Asked so that what the kernel says of it can still be read."""
        pid = self._processes[name].pid
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _waited_seconds(self, name: str) -> float:
        """How long the process was ready to run and did not; 0 where the kernel does not say. It says so of a dead one, too."""
        try:
            return int(Path(f"/proc/{self._processes[name].pid}/schedstat").read_text().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):
            return 0.0

    def send(self, name: str, signal_number: int) -> None:
        self._processes[name].send_signal(signal_number)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[PostgresLog]:
        """The service's log."""
        url = Place.of(self.data_dir).url()
        async with (
            connect(url, role="dcf_engine", size_max=2) as database,
            PostgresLog(database, url, role="dcf_engine") as log,
        ):
            yield log

    def stop(self) -> None:
        running = [process for process in self._processes.values() if process.poll() is None]
        for process in running:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
        for process in running:
            try:
                process.wait(timeout=STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def log(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.data_dir.glob("*.log")))

    def must_run(self) -> None:
        """Raises AssertionError when a process ended by itself."""
        for name, process in self._processes.items():
            status = process.poll()
            said = (self.data_dir / f"{name}.log").read_text(errors="replace")[-3000:]
            assert status is None, f"{name} ended with {status}: {said}"


def _fixed_ports() -> dict[str, str]:
    """Ports nobody is given by chance while their process is away, so that it has the same one again."""
    random = SystemRandom()
    found: dict[str, str] = {}
    for name in ("DCF_PORT", "DCF_FUNCTIONS_PORT"):
        while name not in found:
            with socket.socket() as tried, suppress(OSError):
                tried.bind(("127.0.0.1", random.randrange(*PORTS)))
                found[name] = str(tried.getsockname()[1])
    return found


def functions_running(agent_folder: Path) -> dict[str, set[int]]:
    """The process groups this service's agent has for each deployment, by what their environment says."""
    name = (agent_folder / "name").read_text()
    found: dict[str, set[int]] = {}
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        try:
            given = dict(part.split("=", 1) for part in (place / "environ").read_text().split("\0") if "=" in part)
            if given.get("DCF_AGENT") == name and "DCF_DEPLOYMENT_ID" in given:
                found.setdefault(given["DCF_DEPLOYMENT_ID"], set()).add(os.getpgid(int(place.name)))
        except (OSError, UnicodeDecodeError):
            continue
    return found
