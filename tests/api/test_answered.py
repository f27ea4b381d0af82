"""The count of what was answered, as Prometheus reads it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from api.answered import Answered


class TestAnswered:
    def test_is_told_as_a_counter_and_a_histogram(self) -> None:
        answered = Answered()
        for operation, status, seconds in (
            ("get", 200, 0.002),
            ("get", 200, 0.3),
            ("get", 404, 20.0),
            ("put", 200, 0.01),
        ):
            answered.count(operation, status, seconds)

        told = _told(answered)

        assert told["dcf_http_requests_total", "get", "200"] == 2
        assert told["dcf_http_requests_total", "get", "404"] == 1
        assert told["dcf_http_request_seconds_count", "get", ""] == 3
        assert told["dcf_http_request_seconds_sum", "get", ""] == 20.302
        bucket = {
            le: told["dcf_http_request_seconds_bucket", "get", le] for le in ("0.002", "0.25", "0.5", "10.0", "+Inf")
        }
        assert bucket == {"0.002": 1, "0.25": 1, "0.5": 2, "10.0": 2, "+Inf": 3}
        assert told["dcf_http_request_seconds_bucket", "put", "0.005"] == 0

    def test_of_nothing_is_nothing(self) -> None:
        assert _told(Answered()) == {}


def _told(answered: Answered) -> dict[tuple[str, str, str], float]:
    registry = CollectorRegistry()
    registry.register(answered)
    return {
        (
            sample.name,
            sample.labels["operation"],
            sample.labels.get("status") or sample.labels.get("le", ""),
        ): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }
