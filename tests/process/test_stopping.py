"""How a process is asked to stop, and is gone in time."""

from __future__ import annotations

import subprocess
import sys

_STUCK = """
import time
from process.stopping import gone_in_time

with gone_in_time() as gone_within:
    gone_within({seconds})
    time.sleep({closing})
time.sleep(0.2)
print("closed")
"""


def ended(*, seconds: float, closing: float) -> subprocess.CompletedProcess[str]:
    """A process that has so many seconds left, and takes so many to close what it has open."""
    program = _STUCK.format(seconds=seconds, closing=closing)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


class TestGoneInTime:
    def test_ends_the_process_though_something_does_not_close(self) -> None:
        done = ended(seconds=0.1, closing=50)

        assert done.returncode == 0
        assert "ended_without_closing" in done.stdout
        assert "closed" not in done.stdout.split()

    def test_leaves_a_process_alone_that_has_closed_in_time(self) -> None:
        done = ended(seconds=0.2, closing=0)

        assert done.returncode == 0
        assert done.stdout.split() == ["closed"]
