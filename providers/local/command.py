"""Run one command to its end, within a time limit, its output handed on as it comes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from pathlib import Path

import msgspec

OUTPUT_BYTES_MAX = 64 * 1024
_READ_BYTES = 16 * 1024


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended. `code` is None when it ran out of time; `output` keeps the first and the last of what it wrote."""

    code: int | None
    output: str

    @property
    def succeeded(self) -> bool:
        return self.code == 0


async def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    seconds_max: float,
    environment: Mapping[str, str] | None = None,
    write: Callable[[bytes], None] | None = None,
    started: Callable[[int], None] | None = None,
    held: Callable[[int], AbstractAsyncContextManager[object]] | None = None,
) -> Finished:
    """Run `argv` in a session of its own; when time is over, or the caller is cancelled, its whole process group is killed.

    `write` gets the output (both streams) as it comes, `started` the process id. `held`: it waits for a line of its input, and gets
    that inside this context of its process id. Raises OSError when it cannot be started.
    """
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=cwd,
        env=environment,
        stdin=asyncio.subprocess.PIPE if held else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    output = _Output(write)
    try:
        if started:
            started(process.pid)
        async with asyncio.timeout(seconds_max), held(process.pid) if held else nullcontext():
            _let_go(process)
            await _read(process, output)
            code: int | None = await process.wait()
    except TimeoutError:
        code = None
    finally:
        # Also when it ended by itself: nothing it left behind in its group may go on.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    return Finished(code=code, output=output.text)


def _let_go(process: asyncio.subprocess.Process) -> None:
    if process.stdin:
        process.stdin.write(b"go\n")
        process.stdin.close()


async def _read(process: asyncio.subprocess.Process, output: _Output) -> None:
    assert process.stdout is not None
    while chunk := await process.stdout.read(_READ_BYTES):
        output.add(chunk)


class _Output:
    """The head and the tail of a stream."""

    def __init__(self, write: Callable[[bytes], None] | None) -> None:
        self._write = write
        self._head = b""
        self._tail = b""

    def add(self, chunk: bytes) -> None:
        if self._write:
            self._write(chunk)
        room = OUTPUT_BYTES_MAX // 2 - len(self._head)
        self._head += chunk[:room]
        self._tail = (self._tail + chunk[room:])[-OUTPUT_BYTES_MAX // 2 :]

    @property
    def text(self) -> str:
        return (self._head + self._tail).decode(errors="replace")
