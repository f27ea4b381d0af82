"""The processes behind builds and containers: one at a time, what they write kept, ended on demand with all they started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

STOP_SECONDS = 3.0


class Stopped(Exception):
    """It was told to stop meanwhile."""


class Running:
    """Processes that belong together, one after another, and their output in one file."""

    def __init__(self, log_path: Path) -> None:
        self._log_path = log_path
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    @property
    def log(self) -> str:
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def write(self, text: str) -> None:
        with self._log_path.open("a") as log:
            log.write(text)

    def check(self) -> None:
        """Raise Stopped if it was told to."""
        if self._stopped:
            raise Stopped

    def start(
        self, argv: Sequence[str], *, environment: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        """Start a process in a session of its own. Raises Stopped."""
        with self._lock:
            self.check()
            with self._log_path.open("ab") as log:
                self._process = subprocess.Popen(
                    argv,
                    env=None if environment is None else dict(environment),
                    cwd=cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )

    def run(self, argv: Sequence[str], *, environment: Mapping[str, str] | None = None, cwd: Path | None = None) -> int:
        """Start a process and wait for its end: its exit code. Raises Stopped."""
        self.start(argv, environment=environment, cwd=cwd)
        assert self._process is not None
        code = self._process.wait()
        self.check()
        return code

    def stop(self) -> None:
        """End what runs, and start nothing more."""
        with self._lock:
            self._stopped = True
            process = self._process
        if process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=STOP_SECONDS)
                return


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
