"""Ticks of schedules, as the API shows them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx

from api.first_start import TENANT_ID
from eventstore.ticks import Tick
from tests.api.steps import a_function, a_project, ask, is_problem
from tests.api.world import World

DUE = datetime(2026, 3, 1, 12, tzinfo=UTC)
NIGHTLY = {"type": "schedule", "settings": {"cron": "0 3 * * *", "timeZone": "Europe/Madrid"}}


async def fired(world: World, function_id: str, count: int) -> None:
    """So many ticks; the last failed."""
    given: dict[str, Any] = {"tenant_id": TENANT_ID, "function_id": UUID(function_id), "deployment_id": uuid4()}
    ticks = [Tick(due_at=DUE + timedelta(minutes=minute), **given) for minute in range(count)]
    await world.services.ticks.take(ticks, seconds=60)
    for tick in ticks[:-1]:
        await world.services.ticks.end(tick, "succeeded", http_status=204)
    await world.services.ticks.end(ticks[-1], "failed", http_status=500)


class TestList:
    async def test_shows_the_newest_first_in_pages(self, world: World, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        function_id = await a_function(client, project_id, trigger=NIGHTLY)
        await fired(world, function_id, 5)
        path = f"/projects/{project_id}/functions/{function_id}/ticks"

        first = await ask(client, "GET", f"{path}?limit=3")
        rest = await ask(client, "GET", f"{path}?limit=3&cursor={first['nextCursor']}")

        items = [*first["items"], *rest["items"]]
        assert [item["dueAt"] for item in items] == [f"2026-03-01T12:0{minute}:00Z" for minute in (4, 3, 2, 1, 0)]
        assert rest["nextCursor"] is None
        assert (items[0]["status"], items[0]["httpStatus"]) == ("failed", 500)
        assert items[1]["endedAt"] is not None

    async def test_of_another_tenants_function_is_not_found(self, world: World, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        function_id = await a_function(client, project_id, trigger=NIGHTLY)
        await fired(world, function_id, 1)

        async with world.client(await world.stranger_key()) as stranger:
            answer = await stranger.get(f"/api/v1/projects/{project_id}/functions/{function_id}/ticks")

        assert is_problem(answer, 404, "function_not_found")

    async def test_refuses_a_cursor_that_is_none(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        function_id = await a_function(client, project_id, trigger=NIGHTLY)

        answer = await client.get(f"/api/v1/projects/{project_id}/functions/{function_id}/ticks?cursor=x")

        assert is_problem(answer, 422, "parameter_invalid")
