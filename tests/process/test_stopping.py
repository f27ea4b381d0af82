"""How a process is asked to stop, and is gone in time."""

from __future__ import annotations

import subprocess
import sys

_STUCK = """
import asyncio
import os
import signal
import time
from process.stopping import stop_requested

async def run():
    with stop_requested({seconds}) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()
        {closing}

asyncio.run(run())
time.sleep(0.2)
print("closed")
"""


def ended(*, seconds: float, closing: str) -> subprocess.CompletedProcess[str]:
    """A process that is asked to stop, has so many seconds left, and closes so what it has open."""
    program = _STUCK.format(seconds=seconds, closing=closing)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


class TestStopRequested:
    def test_ends_the_process_though_something_does_not_close(self) -> None:
        done = ended(seconds=0.1, closing="await asyncio.sleep(50)")

        assert done.returncode == 0
        assert "ended_without_closing" in done.stdout
        assert "closed" not in done.stdout.split()

    def test_ends_it_though_its_loop_is_kept_from_turning(self) -> None:
        done = ended(seconds=0.1, closing="time.sleep(50)")

        assert done.returncode == 0
        assert "ended_without_closing" in done.stdout

    def test_leaves_a_process_alone_that_has_closed_in_time(self) -> None:
        done = ended(seconds=0.2, closing="pass")

        assert done.returncode == 0
        assert done.stdout.split() == ["closed"]
