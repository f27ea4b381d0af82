"""How many requests were answered, and in what time: counted in a list, made metrics of when somebody asks for these."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_SECONDS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_UP_TO: Final = [*map(str, _SECONDS), "+Inf"]


class Answered(Collector):
    """For one thread: prometheus_client's own counters take a lock and six calls for each request, and are no more exact."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, int], int] = {}
        # By operation: how many took as long as each bucket is for, and all the seconds.
        self._times: dict[str, tuple[list[int], list[float]]] = {}

    def count(self, operation: str, status: int, seconds: float) -> None:
        """One more request was answered."""
        key = (operation, status)
        self._requests[key] = self._requests.get(key, 0) + 1
        times = self._times.get(operation)
        if times is None:
            times = self._times[operation] = ([0] * len(_UP_TO), [0.0])
        times[0][bisect_left(_SECONDS, seconds)] += 1
        times[1][0] += seconds

    def collect(self) -> Iterator[Metric]:
        """As `dcf_http_requests_total` and `dcf_http_request_seconds`."""
        requests = CounterMetricFamily("dcf_http_requests", "Requests answered.", labels=("operation", "status"))
        for (operation, status), number in list(self._requests.items()):
            requests.add_metric((operation, str(status)), number)
        yield requests
        seconds = HistogramMetricFamily("dcf_http_request_seconds", "How long answers took.", labels=("operation",))
        for operation, (numbers, whole) in list(self._times.items()):
            seconds.add_metric((operation,), list(zip(_UP_TO, accumulate(numbers), strict=True)), whole[0])
        yield seconds


ANSWERED = Answered()
REGISTRY.register(ANSWERED)
