"""The process that keeps the embedded PostgreSQL running while anybody uses it, and stops it after the last one."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import IO

import psutil

from eventstore import embedded
from eventstore.embedded import Place

# How often it looks whether anybody is left and whether the server lives.
LOOK_SECONDS = 0.1
# Several guardians may be started at once; a lock that is only being looked at is free again after this.
LOCK_SECONDS_MAX = 1.0
# A server that does not finish within this is cut off; it recovers at its next start.
STOP_SECONDS_MAX = 20.0
RESTART_SECONDS = 1.0
# Starts in a row, none of which came to take connections, before it gives up. One that does and is killed then is started
# again however often that happens: nothing is wrong with its data.
STARTS_MAX = 5
LIVED_SECONDS = 60.0


class Guardian:
    """Keeps one server until nobody uses it, or until it is told to stop."""

    def __init__(self, place: Place, *, durable: bool) -> None:
        self._place = place
        self._durable = durable
        self._told = False

    def keep(self, users: IO[bytes]) -> None:
        """Return, with the users' lock, once the server is stopped."""
        embedded.create(self._place)
        self._watch(users)
        self._stop()

    def tell_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._told = True

    def _watch(self, users: IO[bytes]) -> None:
        starts, since, child = 0, -math.inf, None
        came_up, written = False, self._written()
        while not self._told and not embedded.lock(users):
            # Whoever ends it between two looks, in whatever way, leaves either this or what it wrote to its log.
            came_up = came_up or embedded.ready(self._place)
            if (child is None or child.poll() is not None) and not embedded.running(self._place):
                lived = time.monotonic() - since > LIVED_SECONDS
                starts = 1 if lived or came_up or embedded.said_ready(self._place, written) else starts + 1
                if starts > STARTS_MAX:
                    raise embedded.PostgresUnavailable(f"PostgreSQL ended {STARTS_MAX} times in a row")
                time.sleep(0 if lived else RESTART_SECONDS)
                came_up, written = False, self._written()
                child, since = embedded.start(self._place, durable=self._durable), time.monotonic()
            time.sleep(LOOK_SECONDS)

    def _written(self) -> int:
        """How many bytes the server's log has."""
        return self._place.log.stat().st_size if self._place.log.exists() else 0

    def _stop(self) -> None:
        """Cut the sessions off and write everything out; what cannot be done in time is recovered at the next start."""
        if server := embedded.running(self._place):
            for number in (signal.SIGINT, signal.SIGQUIT):
                server.send_signal(number)
                with suppress(psutil.TimeoutExpired):
                    server.wait(STOP_SECONDS_MAX)
                    return


def _lock_soon(guard: IO[bytes]) -> bool:
    deadline = time.monotonic() + LOCK_SECONDS_MAX
    while not (locked := embedded.lock(guard)) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS / 2)
    return locked


def main(data_dir: str, durability: str) -> int:
    """Return at once; a child goes on as the guardian, unless there is one already."""
    place = Place.of(Path(data_dir))
    with place.guard.open("ab") as guard, place.users.open("ab") as users:
        # Locked before the child is made, and shared with it: whoever waited for us finds the place guarded.
        if _lock_soon(guard) and os.fork() == 0:
            _guard(place, users, durable=durability == "durable")
            # Before the users' lock, so that whoever gets that one next knows to start a guardian.
            embedded.unlock(guard)
    return 0


def _guard(place: Place, users: IO[bytes], *, durable: bool) -> None:
    guardian = Guardian(place, durable=durable)
    # The terminal's Ctrl-C is for the service; the server goes when the service has gone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, guardian.tell_to_stop)
    try:
        guardian.keep(users)
    except (embedded.PostgresUnavailable, OSError) as problem:
        place.trouble.write_text(f"{problem}\n")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
