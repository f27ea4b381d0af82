"""What differs, over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.runs import succeeded
from tests.api.steps import a_function, a_project, ask, connected, is_problem, the_files
from tests.api.world import World

PUBLIC = {"field": "access", "before": "public", "after": "private", "needs": "redeploy"}
GREETING = {"field": "environment.GREETING", "before": None, "after": "Hello", "needs": "redeploy"}


@pytest.fixture
async def project_id(client: httpx.AsyncClient) -> str:
    project_id = await a_project(client)
    await connected(client, project_id)
    return project_id


@pytest.fixture
async def function_id(client: httpx.AsyncClient, project_id: str) -> str:
    return await a_function(client, project_id, artifactFiles=await the_files(client, project_id))


async def deployed(client: httpx.AsyncClient, project_id: str, function_id: str) -> Any:
    asked = {"functionId": function_id, "provider": "local", "target": {}}
    return await ask(client, "POST", f"/projects/{project_id}/deployments", asked, status=202)


async def changed(client: httpx.AsyncClient, function_id: str, **fields: object) -> None:
    await ask(client, "PUT", "/functions/update", {"functionId": function_id, **fields})


class TestAFunction:
    async def test_shows_what_is_saved_and_not_live_and_agrees_with_changed_since_deploy(
        self, world: World, client: httpx.AsyncClient, project_id: str, function_id: str
    ) -> None:
        path = f"/projects/{project_id}/functions/{function_id}"
        draft = await ask(client, "GET", f"{path}/diff")
        live = await deployed(client, project_id, function_id)
        await succeeded(world, live)
        same = await ask(client, "GET", f"{path}/diff")
        await changed(client, function_id, access="private", environment={"GREETING": "Hello"})
        other = await ask(client, "GET", f"{path}/diff")
        function = await ask(client, "GET", path)
        await changed(client, function_id, access="public", environment={})
        back = await ask(client, "GET", path)

        assert draft == {"functionId": function_id, "against": None, "items": [], "needs": None}
        assert (same["against"], same["items"]) == (live["deploymentId"], [])
        assert (other["items"], other["needs"]) == ([PUBLIC, GREETING], "redeploy")
        assert (function["changedSinceDeploy"], back["changedSinceDeploy"]) == (True, False)

    async def test_of_another_project_is_not_found(self, client: httpx.AsyncClient, function_id: str) -> None:
        other = await a_project(client, "other")

        answer = await client.get(f"/api/v1/projects/{other}/functions/{function_id}/diff")

        assert is_problem(answer, 404, "function_not_found")


class TestADeployment:
    async def test_is_compared_with_the_active_one_or_the_one_named(
        self, world: World, client: httpx.AsyncClient, project_id: str, function_id: str
    ) -> None:
        first = await deployed(client, project_id, function_id)
        await succeeded(world, first)
        await changed(client, function_id, access="private")
        second = await deployed(client, project_id, function_id)
        path = f"/projects/{project_id}/deployments"

        with_active = await ask(client, "GET", f"{path}/{second['deploymentId']}/diff")
        named = await ask(client, "GET", f"{path}/{first['deploymentId']}/diff?against={second['deploymentId']}")

        assert with_active == {
            "deploymentId": second["deploymentId"],
            "against": first["deploymentId"],
            "items": [PUBLIC],
            "needs": "redeploy",
        }
        assert [(item["before"], item["after"]) for item in named["items"]] == [("private", "public")]

    async def test_against_one_that_never_was_is_not_found(
        self, client: httpx.AsyncClient, project_id: str, function_id: str
    ) -> None:
        first = await deployed(client, project_id, function_id)
        path = f"/api/v1/projects/{project_id}/deployments"

        unknown = await client.get(f"{path}/{uuid4()}/diff")
        against_unknown = await client.get(f"{path}/{first['deploymentId']}/diff?against={uuid4()}")

        assert is_problem(unknown, 404, "deployment_not_found")
        assert is_problem(against_unknown, 404, "deployment_not_found")
