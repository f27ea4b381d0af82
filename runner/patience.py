"""How long to wait before looking or trying again."""

from __future__ import annotations

from random import Random

POLL_SECONDS_MIN = 0.2
POLL_SECONDS_MAX = 5.0
POLL_GROWTH = 1.3
RETRY_SECONDS_MIN = 0.5
RETRY_SECONDS_MAX = 30.0
# However long a cloud asks us to stay away, it is asked again after so long.
RETRY_SECONDS_ASKED_MAX = 120.0
# Spread, so that what was throttled together does not come back together.
JITTER = 0.25


def poll_seconds(polls: int, random: Random) -> float:
    """Before the next look at work that goes on by itself, of which `polls` looks saw no end."""
    return _spread(min(POLL_SECONDS_MIN * POLL_GROWTH ** min(polls, 50), POLL_SECONDS_MAX), random)


def retry_seconds(failures: int, asked_seconds: float, random: Random) -> float:
    """Before what failed `failures` times (from 1) is tried again; never sooner than the cloud asked for."""
    own = min(RETRY_SECONDS_MIN * 2.0 ** min(failures - 1, 20), RETRY_SECONDS_MAX)
    return max(_spread(own, random), min(asked_seconds, RETRY_SECONDS_ASKED_MAX) * (1 + JITTER * random.random()))


def _spread(seconds: float, random: Random) -> float:
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)
