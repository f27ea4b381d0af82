"""A module of ours in a process of its own, for as long as a block runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

STOP_SECONDS_MAX = 10.0


@asynccontextmanager
async def started(
    module: str,
    environment: Mapping[str, str] | None = None,
    *,
    talks: bool = False,
    line_bytes_max: int = 2**16,
    log: Path | None = None,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The process. With `talks` it reads lines and answers them; what it logs goes where ours does, or into a file."""
    with ExitStack() as exits:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            env={**os.environ, **(environment or {})},
            stdin=asyncio.subprocess.PIPE if talks else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if talks else asyncio.subprocess.DEVNULL,
            stderr=exits.enter_context(log.open("ab")) if log else None,
            limit=line_bytes_max,
        )
    try:
        yield process
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS_MAX):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
