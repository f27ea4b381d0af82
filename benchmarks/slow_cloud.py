"""`python -m benchmarks.slow_cloud`: one runner, as it runs for real, over a simulated cloud that takes its time.

It works until its input ends. Asked by a line, it answers with one: what it has used, and when it took the first step of
each deployment.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from collections import defaultdict
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from random import SystemRandom
from uuid import UUID

import msgspec
from prometheus_client import CollectorRegistry

from commands.ids import new_id
from process import logs
from process.outbound import Reachable
from process.settings import Settings
from providers.provider import Observation, Order
from providers.simulated.provider import SimulatedProvider
from providers.simulated.weather import Behaviour, Weather
from runner.composition import make_runner
from runner.postgres_stores import stores_on_postgres
from runner.webhook_sender import HttpSender

BUILD_SECONDS_VARIABLE = "DCF_BENCHMARK_BUILD_SECONDS"
SLOW = Weather(latency_seconds_max=0.6)
HEALTHY_AFTER_SECONDS_MAX = 4.0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`first_steps` are seconds since the epoch."""

    cpu_seconds: float
    memory_mb: float
    peak_memory_mb: float
    first_steps: dict[UUID, float]


class SlowCloud(SimulatedProvider):
    """Notes when a runner first turns to each deployment."""

    def __init__(self, build_seconds: float) -> None:
        super().__init__(0, clock=time.monotonic, weather=SLOW)
        healthy_after = min(build_seconds, HEALTHY_AFTER_SECONDS_MAX)
        slow = Behaviour(build_seconds=build_seconds, healthy_after_seconds=healthy_after)
        self.behaviour = defaultdict(lambda: slow)
        self.first_steps: dict[UUID, float] = {}

    async def observe(self, order: Order) -> Observation:
        self.first_steps.setdefault(order.deployment_id, time.time())
        return await super().observe(order)


def main() -> int:
    settings = Settings.from_environment(os.environ)
    logs.set_up("runner", style="json", level="error")
    asyncio.run(_run(settings, float(os.environ[BUILD_SECONDS_VARIABLE])))
    return 0


async def _run(settings: Settings, build_seconds: float) -> None:
    assert settings.database_url is not None, "it is given a database of its own"
    cloud, stop = SlowCloud(build_seconds), asyncio.Event()
    async with AsyncExitStack() as exits:
        stores = await stores_on_postgres(settings, settings.database_url.reveal(), exits)
        runner = make_runner(
            stores,
            {"local": cloud},
            clock=lambda: datetime.now(UTC),
            random=SystemRandom(),
            new_id=new_id,
            registry=CollectorRegistry(),
            sender=await exits.enter_async_context(HttpSender(Reachable())),
            deployments_max=settings.runner_deployments_max,
        )
        working = asyncio.create_task(runner.run(stop))
        await _answer(cloud)
        stop.set()
        await working


async def _answer(cloud: SlowCloud) -> None:
    """Until the input ends."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while await lines.readline():
        used = resource.getrusage(resource.RUSAGE_SELF)
        report = Report(
            cpu_seconds=used.ru_utime + used.ru_stime,
            memory_mb=_resident_mb(),
            peak_memory_mb=used.ru_maxrss / 1024,
            first_steps=cloud.first_steps,
        )
        sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
        sys.stdout.flush()


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * resource.getpagesize() / 2**20


if __name__ == "__main__":
    sys.exit(main())
