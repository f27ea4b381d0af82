"""What the keeper of the tree tells about itself: how large it is, how far behind, and whether it may be signed."""

from __future__ import annotations

import time

from prometheus_client import REGISTRY, CollectorRegistry, Gauge

from process.health import Degraded

# Beyond this somebody should look why the tree does not come up with the log.
BEHIND_SECONDS_MAX = 60.0


class TreeBehind(Degraded):
    """Events are recorded, and not yet in the tree. The message says how many."""


class TreeMonitor:
    """Metrics of the process that keeps the tree, and its check, which never fails: nobody waits for the tree."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._size = Gauge("dcf_log_tree_size", "Events in the tree of the log", registry=registry)
        self._lag = Gauge("dcf_log_tree_lag_events", "Events not in the tree yet", registry=registry)
        self._signed = Gauge("dcf_log_tree_checkpoint_size", "Events under the newest checkpoint", registry=registry)
        self._lag_events = 0
        self._up_at = time.monotonic()
        self._trouble = ""

    def reached(self, size: int, *, head: int) -> None:
        """How many leaves there are while the log ends at `head`."""
        self._size.set(size)
        self._lag_events = max(0, head - size)
        self._lag.set(self._lag_events)
        if not self._lag_events:
            self._up_at = time.monotonic()

    def signed(self, size: int) -> None:
        """There is a checkpoint of so many."""
        self._signed.set(size)
        self._trouble = ""

    def hindered(self, why: str) -> None:
        """What keeps it from growing, or from being signed."""
        self._trouble = why

    def stands_by(self) -> None:
        """Another keeps the tree."""
        self.reached(0, head=0)
        self._trouble = ""

    async def check(self) -> None:
        """Raises TreeBehind."""
        if self._trouble:
            raise TreeBehind(self._trouble)
        if self._lag_events and time.monotonic() - self._up_at > BEHIND_SECONDS_MAX:
            raise TreeBehind(f"{self._lag_events} events are not in the tree of the log yet")
