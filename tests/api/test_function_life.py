"""A function's revisions, and its end."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.runs import succeeded, undeployed
from tests.api.steps import a_function, a_project, ask, connected, is_problem, the_files
from tests.api.world import World


@pytest.fixture
async def project_id(client: httpx.AsyncClient) -> str:
    return await a_project(client)


async def deployed(client: httpx.AsyncClient, project_id: str, function_id: str) -> Any:
    asked = {"functionId": function_id, "provider": "local", "target": {}}
    return await ask(client, "POST", f"/projects/{project_id}/deployments", asked, status=202)


async def a_ready_function(client: httpx.AsyncClient, project_id: str) -> str:
    await connected(client, project_id)
    return await a_function(client, project_id, artifactFiles=await the_files(client, project_id))


class TestArchiveFunction:
    async def test_frees_its_name(self, client: httpx.AsyncClient, project_id: str) -> None:
        function_id = await a_function(client, project_id)
        path = f"/projects/{project_id}/functions/{function_id}"
        tag = (await client.get(f"/api/v1{path}")).headers["etag"]

        answer = await client.post(f"/api/v1{path}/archive", json={}, headers={"If-Match": tag})

        got = await client.get(f"/api/v1{path}")
        assert (answer.status_code, answer.json()["status"]) == (200, "archived")
        assert (got.json(), got.headers["etag"]) == (answer.json(), answer.headers["etag"])
        assert await ask(client, "POST", f"{path}/archive", {}) == answer.json()
        assert await a_function(client, project_id) != function_id

    async def test_names_what_is_live(self, world: World, client: httpx.AsyncClient, project_id: str) -> None:
        function_id = await a_ready_function(client, project_id)
        queued = await deployed(client, project_id, function_id)
        archive = f"/api/v1/projects/{project_id}/functions/{function_id}/archive"

        under_way = await client.post(archive, json={"undeployFirst": True})
        await succeeded(world, queued)
        active = await client.post(archive, json={})

        for answer in (under_way, active):
            assert is_problem(answer, 409, "function_is_live")
            assert queued["deploymentId"] in answer.json()["detail"]

    async def test_undeploys_first_when_asked_to(
        self, world: World, client: httpx.AsyncClient, project_id: str
    ) -> None:
        function_id = await a_ready_function(client, project_id)
        deployment = await deployed(client, project_id, function_id)
        await succeeded(world, deployment)
        path = f"/projects/{project_id}/functions/{function_id}"

        answer = await client.post(f"/api/v1{path}/archive", json={"undeployFirst": True, "reason": "cost"})
        got = await client.get(f"/api/v1{path}")
        where = f"/projects/{project_id}/deployments/{deployment['deploymentId']}"
        leaving = await ask(client, "GET", where)
        await undeployed(world, deployment)

        assert (answer.status_code, answer.json()["status"]) == (202, "deployed")
        assert (got.json(), got.headers["etag"]) == (answer.json(), answer.headers["etag"])
        assert leaving["status"] == "undeploy_queued"
        assert (await ask(client, "GET", path))["status"] == "archived"
        assert await a_function(client, project_id) != function_id


class TestRevisions:
    async def test_tell_each_save_and_by_whom(self, client: httpx.AsyncClient, project_id: str) -> None:
        function_id = await a_function(client, project_id, description="first")
        for description in ("second", "second", "third"):
            await ask(client, "PUT", "/functions/update", {"functionId": function_id, "description": description})
        path = f"/projects/{project_id}/functions/{function_id}/revisions"

        all_of_them = (await ask(client, "GET", path))["items"]
        first = await ask(client, "GET", f"{path}?limit=2")
        rest = await ask(client, "GET", f"{path}?limit=2&cursor={first['nextCursor']}")

        assert [(item["revision"], item["description"]) for item in all_of_them] == [
            (1, "first"),
            (2, "second"),
            (3, "third"),
        ]
        assert all_of_them[0]["actor"]["type"] == "key"
        assert first["items"] + rest["items"] == all_of_them
        assert rest["nextCursor"] is None

    async def test_of_no_function_of_the_project_is_404(self, client: httpx.AsyncClient, project_id: str) -> None:
        function_id, other_id = await a_function(client, project_id), await a_project(client, "other")

        for path in (f"{other_id}/functions/{function_id}", f"{project_id}/functions/{uuid4()}"):
            assert is_problem(await client.get(f"/api/v1/projects/{path}/revisions"), 404, "function_not_found")
