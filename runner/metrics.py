"""What a runner counts: deployments in hand, how long steps take, how deployments end, what clouds make it wait for."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_STEP_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)


class Metrics:
    """One a process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.in_flight = Gauge("dcf_runner_in_flight", "Deployments this runner works on.", registry=registry)
        self.waiting = Gauge("dcf_runner_waiting", "Deployments that could be begun and are not.", registry=registry)
        self.queue_age = Gauge(
            "dcf_runner_queue_age_seconds", "How long this runner has seen the oldest of them wait.", registry=registry
        )
        self.step_seconds = Histogram(
            "dcf_runner_step_seconds", "How long steps took.", ("step",), buckets=_STEP_SECONDS, registry=registry
        )
        self.ended = Counter("dcf_runner_ended", "Deployments by how they ended.", ("status",), registry=registry)
        self.waits = Counter(
            "dcf_runner_provider_waits", "Calls a cloud put off or did not answer.", ("step",), registry=registry
        )
        self.drifts = Counter(
            "dcf_runner_drifts",
            "Differences between clouds and releases, found and cleared.",
            ("change",),
            registry=registry,
        )
        self.schedules = Gauge("dcf_runner_schedules", "Schedules this runner keeps.", registry=registry)
        self.ticks = Counter(
            "dcf_runner_ticks", "Ticks of schedules by what came of them.", ("status",), registry=registry
        )
        self.tick_lateness = Histogram(
            "dcf_runner_tick_lateness_seconds",
            "How long after it was due a function was called.",
            buckets=_STEP_SECONDS,
            registry=registry,
        )
        self.webhooks = Counter(
            "dcf_runner_webhook_deliveries",
            "Events told to webhooks by what came of it.",
            ("status",),
            registry=registry,
        )
        self.turns_failed = Counter("dcf_runner_turns_failed", "Turns broken off by an error.", registry=registry)
        self.leases_lost = Counter("dcf_runner_leases_lost", "Deployments taken by another runner.", registry=registry)
        self.left_to_newer_code = Counter(
            "dcf_runner_left_to_newer_code",
            "Times a deployment was left alone for an event that only newer code knows.",
            registry=registry,
        )
