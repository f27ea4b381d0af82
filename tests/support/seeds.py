"""Seeds played one after another for as long as there is time."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator

# Of a test of the proof, which has twenty minutes in all: on a machine of usual speed none needs so long.
SECONDS_MAX = 300.0


class SeedsLeftOut(UserWarning):
    """The machine is slow: not all seeds were played."""


def seeds(first: int, end: int, *, at_least: int, seconds_max: float = SECONDS_MAX) -> Iterator[int]:
    """Those from `first` on, all before `end` unless the time is over; so many in any case. What is left out is warned of."""
    until = time.monotonic() + seconds_max
    for number, seed in enumerate(range(first, end)):
        if number >= at_least and time.monotonic() > until:
            warnings.warn(SeedsLeftOut(f"{number} of {end - first} seeds were played"), stacklevel=2)
            return
        yield seed
