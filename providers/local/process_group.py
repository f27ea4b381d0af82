"""A function's process and everything it starts: one session, started or adopted, watched and stopped as a whole."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from providers.local import procfs
from providers.local.records import ProcessMark


class NotStarted(Exception):
    """The process ended before it could be looked at, or could not be started."""


class ProcessGroup:
    """`mark` recognises its first process; `ended` is done, with the exit code if it is known, once that one is gone."""

    def __init__(self, process: ProcessMark, child: subprocess.Popen[bytes] | None) -> None:
        self.mark = process
        self.ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._child = child
        self._descriptor = os.pidfd_open(process.pid)
        asyncio.get_running_loop().add_reader(self._descriptor, self._on_end)

    @classmethod
    def start(
        cls, argv: Sequence[str], *, environment: Mapping[str, str], cwd: Path, log: Path, held: bool = False
    ) -> Self:
        """Start in a new session, our own environment and open files left behind.

        Its output goes straight to the file `log`, so that it goes on when the agent does not. `held`: it waits for a line
        until `release`, or ends with the agent. Raises NotStarted.
        """
        with log.open("ab") as output:
            child = subprocess.Popen(
                argv,
                env=dict(environment),
                cwd=cwd,
                stdin=subprocess.PIPE if held else subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=0o077,
            )
        found = procfs.mark(child.pid)
        if found is None:
            raise NotStarted
        return cls(found, child)

    @classmethod
    def adopt(cls, process: ProcessMark) -> Self | None:
        """Take over one that an agent before us started; None when it is gone."""
        try:
            group = cls(process, None)
        except ProcessLookupError:
            return None
        if procfs.lives(process):
            return group
        group._close()
        return None

    def release(self) -> None:
        """Let one that is held go on. Twice is once."""
        if self._child and self._child.stdin and not self._child.stdin.closed:
            with suppress(OSError):
                self._child.stdin.write(b"go\n")
                self._child.stdin.close()

    def signal(self, number: signal.Signals) -> None:
        """To every process of the group that is left."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.mark.pid, number)

    async def stop(self, seconds_max: float) -> None:
        """SIGTERM, time to finish, then SIGKILL for whatever is left of the group."""
        if not self.ended.done():
            self.signal(signal.SIGTERM)
            await asyncio.wait([self.ended], timeout=seconds_max)
        if not self.ended.done():
            self.signal(signal.SIGKILL)
            await asyncio.wait([self.ended], timeout=seconds_max)

    def _on_end(self) -> None:
        # While its first process is not reaped, its number cannot belong to anybody else.
        self.signal(signal.SIGKILL)
        self.release()
        self._close()
        self.ended.set_result(self._child.wait() if self._child else None)

    def _close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
