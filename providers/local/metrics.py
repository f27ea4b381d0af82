"""The agent's numbers, read off the fleet whenever they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import get_args

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from providers.local.fleet import Fleet
from providers.local.keeper import Status


class FleetMetrics(Collector):
    """Functions by status, requests under way, and processes started again after they died."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def collect(self) -> Iterator[Metric]:
        """What stands now."""
        keepers = self._fleet.keepers()
        counted = Counter(keeper.status for keeper in keepers)
        functions = GaugeMetricFamily("dcf_agent_functions", "Releases that should run, by status.", labels=["status"])
        for status in get_args(Status):
            functions.add_metric([status], counted[status])
        yield functions
        under_way = sum(keeper.under_way for keeper in keepers)
        yield GaugeMetricFamily("dcf_agent_requests_under_way", "Requests being answered.", value=under_way)
        restarts = self._fleet.restarts
        yield CounterMetricFamily("dcf_agent_restarts", "Processes started again after they died.", value=restarts)
