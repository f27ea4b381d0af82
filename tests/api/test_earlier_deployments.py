"""Deployments made from earlier ones, over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.runs import succeeded
from tests.api.steps import a_function, a_project, ask, connected, is_problem, the_files
from tests.api.world import World


@pytest.fixture
async def project_id(client: httpx.AsyncClient) -> str:
    project_id = await a_project(client)
    await connected(client, project_id)
    return project_id


async def deployed(client: httpx.AsyncClient, project_id: str, function_id: str) -> Any:
    asked = {"functionId": function_id, "provider": "local", "target": {}}
    return await ask(client, "POST", f"/projects/{project_id}/deployments", asked, status=202)


class TestAgain:
    async def test_a_canceled_one_is_retried_with_the_same_release(
        self, client: httpx.AsyncClient, project_id: str
    ) -> None:
        function_id = await a_function(client, project_id, artifactFiles=await the_files(client, project_id))
        first = await deployed(client, project_id, function_id)
        path = f"/projects/{project_id}/deployments/{first['deploymentId']}"
        await ask(client, "POST", f"{path}/cancel", {}, status=202)

        answer = await client.post(f"/api/v1{path}/retry", json={"reason": "again"})

        body = answer.json()
        got = await client.get(answer.headers["location"])
        assert answer.status_code == 202, answer.text
        assert (body["origin"], body["sourceDeploymentId"]) == ("retry", first["deploymentId"])
        assert body["release"]["sources"] == first["release"]["sources"]
        assert (got.json(), got.headers["etag"]) == (body, answer.headers["etag"])

    async def test_goes_back_and_builds_again(self, world: World, client: httpx.AsyncClient, project_id: str) -> None:
        function_id = await a_function(client, project_id, artifactFiles=await the_files(client, project_id))
        first = await deployed(client, project_id, function_id)
        await succeeded(world, first)
        second = await deployed(client, project_id, function_id)
        await succeeded(world, second)
        path = f"/projects/{project_id}/deployments"

        back = await ask(client, "POST", f"{path}/{first['deploymentId']}/rollback", {}, status=202)
        active = await client.post(f"/api/v1{path}/{second['deploymentId']}/rollback", json={})
        built = await ask(client, "POST", f"{path}/{second['deploymentId']}/redeploy", {}, status=202)

        assert (back["origin"], back["sourceDeploymentId"]) == ("rollback", first["deploymentId"])
        assert is_problem(active, 409, "rollback_active")
        assert (built["origin"], built["sourceDeploymentId"]) == ("redeploy", second["deploymentId"])

    @pytest.mark.parametrize("action", ["retry", "redeploy", "rollback"])
    async def test_of_none_is_404(self, client: httpx.AsyncClient, project_id: str, action: str) -> None:
        path = f"/api/v1/projects/{project_id}/deployments/{uuid4()}/{action}"

        assert is_problem(await client.post(path, json={}), 404, "deployment_not_found")
