"""A supervised process runs until it is told to stop, whatever happens to it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from cli.supervisor import Child


@asynccontextmanager
async def _kept(tmp_path: Path, code: str, *, stop_seconds: float = 5) -> AsyncIterator[tuple[Child, list[str]]]:
    (tmp_path / "made_up_module.py").write_text(code)
    lines: list[str] = []
    child = Child("made-up", ["made_up_module"], {**os.environ, "PYTHONPATH": str(tmp_path)}, lines.append)
    task = asyncio.create_task(child.keep())
    try:
        yield child, lines
    finally:
        await child.stop(stop_seconds)
        await task


async def _until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.02)


WAITS = "import time\nprint('here', flush=True)\ntime.sleep(600)\n"
DEAF = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAITS


class TestChild:
    async def test_has_its_name_in_front_of_each_line(self, tmp_path: Path) -> None:
        async with _kept(tmp_path, WAITS) as (_, lines):
            await _until(lambda: lines)

        assert lines == ["made-up     | here\n"]

    async def test_is_started_again_when_it_is_killed(self, tmp_path: Path) -> None:
        async with _kept(tmp_path, WAITS) as (child, lines):
            await _until(lambda: lines)
            first = child.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            await _until(lambda: len(lines) == 2)

            assert child.pid not in (None, first)

    async def test_stops_when_asked(self, tmp_path: Path) -> None:
        async with _kept(tmp_path, WAITS) as (child, lines):
            await _until(lambda: lines)
            await child.stop(5)

            assert child.pid is None

    async def test_is_ended_when_it_does_not_listen(self, tmp_path: Path) -> None:
        async with _kept(tmp_path, DEAF, stop_seconds=0.2) as (child, lines):
            await _until(lambda: lines)

        assert child.pid is None

    async def test_stops_between_two_starts_too(self, tmp_path: Path) -> None:
        async with _kept(tmp_path, "print('here', flush=True)\nraise SystemExit(3)") as (child, lines):
            # It may be over before anybody could have seen its id.
            await _until(lambda: lines)
            await _until(lambda: child.pid is None)

        assert child.pid is None
