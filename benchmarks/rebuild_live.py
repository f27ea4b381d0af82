"""`rebuild_live`: every read model rebuilt while the service carries half of what this machine can."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import msgspec

from benchmarks.effort import Effort
from benchmarks.figures import Figures, note, percentile_ms, ratio, rounded
from benchmarks.history import History, make_history
from benchmarks.http_contest import request
from benchmarks.http_load import NUMBER
from benchmarks.past import fill
from benchmarks.served import Served, served
from benchmarks.steady_load import Order, Outcome, Request, SteadyLoad, steady_load

EVENTS = 60_000
EVENTS_QUICK = 1_000
FUNCTIONS = 30
SLICE_SECONDS = 3.0
# What the service carries is found by raising the load until answers come late.
STEPS_PER_SECOND = (50, 100, 150, 200, 300, 400, 600, 800, 1_000, 1_300, 1_600)
STEPS_QUICK = (20, 40)
LATE_SECONDS = 0.1
SECONDS_MAX = 200.0
_LOOK_SECONDS = 0.2


class RebuildFailed(Exception):
    """A rebuild did not end well, or not in time."""


async def rebuild_live(effort: Effort) -> Figures:
    """Reads of deployments, lists and timelines, and updates of functions that do not wait to be seen."""
    async with served() as place, steady_load() as load, _operator(place) as operator:
        history = await make_history(place, functions=FUNCTIONS, of_each=FUNCTIONS // 3)
        note("the log is filled")
        await _fill(place, EVENTS_QUICK if effort.quick else EVENTS)
        await _caught_up(operator)
        scene = _Scene(load, place.port, _requests(place, history))
        carried = await scene.carried(STEPS_QUICK if effort.quick else STEPS_PER_SECOND, effort)
        rate = carried / 2
        note(f"it carries {carried:g} requests a second; half of that from here on")
        before = await scene.run(rate, (2 if effort.quick else 5) * SLICE_SECONDS * min(1.0, effort.seconds))
        began = time.perf_counter()
        during = await scene.until_over(rate, asyncio.create_task(_rebuild_all(operator)))
        seconds = time.perf_counter() - began
    p99, p99_during = percentile_ms(before.reads, 99), percentile_ms(during.reads, 99)
    return {
        "requests_per_second": rate,
        "rebuild_seconds": rounded(seconds),
        "reads": len(during.reads),
        "failed": len(before.failed) + len(during.failed),
        "failures": [*before.failed, *during.failed][:3],
        "empty": before.empty + during.empty,
        "p50_ms": percentile_ms(during.reads, 50),
        "p99_ms": p99_during,
        "p50_ms_without": percentile_ms(before.reads, 50),
        "p99_ms_without": p99,
        "ratio": ratio(p99_during, p99),
        "write_p99_ms": percentile_ms(during.writes, 99),
        "write_p99_ms_without": percentile_ms(before.writes, 99),
    }


class _Scene:
    def __init__(self, load: SteadyLoad, port: int, requests: Sequence[Request]) -> None:
        self._load, self._port, self._requests = load, port, list(requests)

    async def run(self, per_second: float, seconds: float) -> Outcome:
        return await self._load.run(
            Order(port=self._port, requests=self._requests, per_second=per_second, seconds=seconds)
        )

    async def carried(self, steps: Sequence[int], effort: Effort) -> float:
        """The most requests a second that are all answered in time."""
        seconds = SLICE_SECONDS * min(1.0, effort.seconds)
        await self.run(steps[0], seconds)  # Whoever comes first would pay for the first of everything.
        most = float(steps[0])
        for step in steps:
            outcome = await self.run(step, seconds)
            if percentile_ms(outcome.reads, 95) > LATE_SECONDS * 1000 or outcome.failed:
                break
            most = step
        return most

    async def until_over(self, per_second: float, task: asyncio.Task[None]) -> Outcome:
        """Ask on for as long as the task runs."""
        reads: list[float] = []
        writes: list[float] = []
        failed: list[str] = []
        empty = 0
        while not task.done():
            outcome = await self.run(per_second, SLICE_SECONDS)
            reads += outcome.reads
            writes += outcome.writes
            failed += outcome.failed
            empty += outcome.empty
        task.result()
        return Outcome(reads=reads, writes=writes, failed=failed, empty=empty)


def _requests(place: Served, history: History) -> list[Request]:
    """One write after a few reads, each of another thing."""
    headers = {"authorization": f"Bearer {place.key}"}
    writing = {**headers, "idempotency-key": NUMBER.decode(), "prefer": "respond-async"}
    at, deployments = (
        f"/api/v1/projects/{history.project_id}",
        [id for ids in history.deployments.values() for id in ids],
    )
    found: list[Request] = []
    for n, function_id in enumerate(history.functions):
        deployment_id = deployments[n % len(deployments)]
        paths = (
            f"{at}/deployments/{deployment_id}",
            f"{at}/deployments",
            f"{at}/functions",
            f"{at}/deployments/{deployment_id}/events",
        )
        found += [Request(content=request("GET", path, headers=headers), status=200, reads=True) for path in paths]
        body = msgspec.json.encode({"functionId": function_id, "description": f"says {NUMBER.decode()}"})
        content = request("PUT", "/api/v1/functions/update", headers=writing, body=body)
        found.append(Request(content=content, status=200, reads=False))
    return found


@asynccontextmanager
async def _operator(place: Served) -> AsyncIterator[httpx.AsyncClient]:
    key = (place.ground.data_dir / "operator.key").read_text().strip()
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{place.port}/api/v1/operations",
        headers={"Authorization": f"Bearer {key}"},
        timeout=60,
        trust_env=False,
    ) as client:
        yield client


async def _fill(place: Served, events: int) -> None:
    """Other tenants' past, behind what has happened so far: nobody reads it, and every read model is full of it."""
    connection = await asyncpg.connect(place.ground.url)
    try:
        head = await connection.fetchval("SELECT log.head(0)")
    finally:
        await connection.close()
    await fill(place.ground.url, events, first=head + 1)


async def _caught_up(operator: httpx.AsyncClient) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            if not any(item["lagEvents"] for item in await _standings(operator)):
                return
            await asyncio.sleep(_LOOK_SECONDS)


async def _rebuild_all(operator: httpx.AsyncClient) -> None:
    """Have every read model rebuilt, and wait for the last. Raises RebuildFailed."""
    for item in await _standings(operator):
        (await operator.post(f"/projections/{item['name']}/rebuild", json={})).raise_for_status()
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            jobs = [item["job"] for item in await _standings(operator)]
            if bad := [job for job in jobs if job["step"] in ("failed", "canceled")]:
                raise RebuildFailed(str(bad))
            if all(job["endedAt"] for job in jobs):
                return
            await asyncio.sleep(1)


async def _standings(operator: httpx.AsyncClient) -> list[dict[str, Any]]:
    answer = (await operator.get("/projections")).raise_for_status()
    items: list[dict[str, Any]] = answer.json()["items"]
    return items
