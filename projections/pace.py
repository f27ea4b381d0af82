"""How much of its time a rebuild works: all of it on a machine of its own, little of it where others are at work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

# Of all processors' time. Below it, what else there is can hardly feel a rebuild.
OTHERS_SHARE_IDLE = 0.04
# From so much on the others come first: a rebuild works this share of its time, and never less.
OTHERS_SHARE_BUSY = 0.25
DUTY_MIN = 0.12
# The longest rest: however busy the machine is, a rebuild comes to its end.
REST_SECONDS_MAX = 0.5
# How long a lane works in one go while others do: they may have to wait for it as long as that.
WORK_SECONDS_WANTED = 0.01
_LOOK_SECONDS = 0.25

_STAT = Path("/proc/stat")


class Pace:
    """Tells a rebuild, or one lane of it, when to rest and for how long. `busy` is the share of all processors' time
    that others use, from 0 to 1."""

    def __init__(self, busy: Callable[[], float] | None = None) -> None:
        self._busy = busy or OthersShare()

    @property
    def duty(self) -> float:
        """The share of its time that a rebuild may work now."""
        over = (self._busy() - OTHERS_SHARE_IDLE) / (OTHERS_SHARE_BUSY - OTHERS_SHARE_IDLE)
        return 1.0 - (1.0 - DUTY_MIN) * min(1.0, max(0.0, over))

    async def rest(self, worked_seconds: float) -> bool:
        """After so many seconds' work; whether there was any need to rest."""
        duty = self.duty
        if duty >= 1.0:
            return False
        await asyncio.sleep(min(REST_SECONDS_MAX, worked_seconds * (1.0 / duty - 1.0)))
        return True


class OthersShare:
    """The share of processors' time that goes to programs that have not lowered their priority, as everything about a
    rebuild has: what it takes itself does not count. Where the system does not tell, it is none.
    """

    def __init__(self) -> None:
        self._looked_at = 0.0
        self._before = _times()
        self._share = 0.0

    def __call__(self) -> float:
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_SECONDS:
            times = _times()
            (user, total), (user_before, total_before) = times, self._before
            if total > total_before:
                fresh = (user - user_before) / (total - total_before)
                # Sudden quiet may be a pause between two requests.
                self._share = fresh if fresh > self._share else (self._share + fresh) / 2
            self._looked_at, self._before = now, times
        return self._share


def _times() -> tuple[int, int]:
    """The ticks that all processors have spent on such programs, and altogether."""
    try:
        fields = [int(field) for field in _STAT.read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return 0, 0
    return fields[0], sum(fields)
