"""What a worker tells about itself: lag in events and seconds, parked streams, and whether it is well."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from process.health import Degraded

# Batches take from about a millisecond to about a second.
_BATCH_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class ParkedEvents(Degraded):
    """Some events could not be applied; all others were. The message names the read models and says what to do."""


class StandsBy(Degraded):
    """Another worker is at work; this one takes over when it goes."""


class Monitor:
    """Metrics of one worker process, and its checks. Positions are dense, so the lag in events is exact."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        model = ("model",)
        self._position = Gauge("dcf_projection_position", "Log position reached", model, registry=registry)
        self._lag_events = Gauge("dcf_projection_lag_events", "Events not applied yet", model, registry=registry)
        self._lag_seconds = Gauge(
            "dcf_projection_lag_seconds", "Age of the oldest event not applied yet", model, registry=registry
        )
        self._parked = Gauge("dcf_projection_parked_streams", "Streams set aside", model, registry=registry)
        self._events = Counter("dcf_projection_events", "Events applied", registry=registry)
        self._batches = Histogram(
            "dcf_projection_batch_seconds", "Time to apply a batch", buckets=_BATCH_SECONDS, registry=registry
        )
        self._of_newer_code = Counter(
            "dcf_projection_events_of_newer_code",
            "Events passed over since only newer code knows their type",
            ("type",),
            registry=registry,
        )
        self._kinds: set[str] = set()
        self._parked_now: dict[str, int] = {}
        self.leads = False

    def applied(self, events: int, seconds: float) -> None:
        """A batch was applied and committed."""
        self._events.inc(events)
        self._batches.observe(seconds)

    def passed_over(self, type: str, count: int) -> None:
        """Events of a type that only newer code knows."""
        self._of_newer_code.labels(type).inc(count)

    def reached(self, kind: str, position: int, *, head: int, behind_since: datetime | None) -> None:
        """Where a read model stands while the log ends at `head`. `behind_since`: when the oldest event that is not
        applied yet was recorded; None: there is none."""
        self._kinds.add(kind)
        self._position.labels(kind).set(position)
        self._lag_events.labels(kind).set(max(0, head - position))
        age = (datetime.now(UTC) - behind_since).total_seconds() if behind_since else 0.0
        self._lag_seconds.labels(kind).set(max(0.0, age))

    def forget_all_but(self, kinds: Collection[str]) -> None:
        """Tell no longer about builds that are neither fed nor served."""
        for kind in self._kinds - set(kinds):
            for gauge in (self._position, self._lag_events, self._lag_seconds, self._parked):
                gauge.remove(kind)
        self._kinds &= set(kinds)

    def parked(self, streams: Mapping[str, int]) -> None:
        """How many streams each read model has set aside."""
        for kind, count in streams.items():
            self._parked.labels(kind).set(count)
        self._parked_now = {kind: count for kind, count in streams.items() if count}

    async def check_parked(self) -> None:
        """Raises ParkedEvents when anything is set aside."""
        if self._parked_now:
            which = ", ".join(f"{kind} ({count} streams)" for kind, count in sorted(self._parked_now.items()))
            raise ParkedEvents(f"{which}: mend the cause, then replay what is parked")

    async def check_lease(self) -> None:
        """Raises StandsBy while another worker is at work."""
        if not self.leads:
            raise StandsBy("another worker has the lease; this one takes over when it goes")
