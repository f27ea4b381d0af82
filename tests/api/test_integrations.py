"""Integrations over HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.api.contract import operations, resolved
from tests.api.runs import succeeded
from tests.api.steps import a_function, a_project, ask, connected, is_problem, the_files
from tests.api.world import World


@pytest.fixture
async def project_id(client: httpx.AsyncClient) -> str:
    return await a_project(client)


class TestConnectLocal:
    async def test_is_created_once_and_shown_by_get(self, client: httpx.AsyncClient, project_id: str) -> None:
        path = f"/projects/{project_id}/integrations/local"

        made = await ask(client, "POST", f"{path}/connect", {}, status=201)
        again = await ask(client, "POST", f"{path}/connect", {})

        assert again == made == await ask(client, "GET", path)
        assert made["status"] == "pending"
        assert (await ask(client, "GET", f"/projects/{project_id}/integrations"))["items"] == [made]

    async def test_refuses_fields(self, client: httpx.AsyncClient, project_id: str) -> None:
        for step in ("connect", "verify", "bucket/check", "bucket/config"):
            answer = await client.post(
                f"/api/v1/projects/{project_id}/integrations/local/{step}", json={"region": "here"}
            )
            assert is_problem(answer, 422, "body_invalid")


class TestVerifyLocal:
    async def test_answers_with_the_steps_it_took(self, client: httpx.AsyncClient, project_id: str) -> None:
        path = f"/projects/{project_id}/integrations/local"
        await ask(client, "POST", f"{path}/connect", {}, status=201)

        body = await ask(client, "POST", f"{path}/verify", {})

        assert body["status"] == "verified"
        assert set(body["steps"][0]) == {"name", "status", "code", "message", "remedy"}
        assert (await ask(client, "GET", path))["identityStatus"] == "verified"

    async def test_refuses_what_is_not_connected(self, client: httpx.AsyncClient, project_id: str) -> None:
        for step in ("verify", "bucket/check", "bucket/config"):
            answer = await client.post(f"/api/v1/projects/{project_id}/integrations/local/{step}", json={})
            assert is_problem(answer, 404, "integration_not_found")


class TestConfigureLocalBucket:
    async def test_refuses_a_storage_that_was_not_checked(self, client: httpx.AsyncClient, project_id: str) -> None:
        path = f"/projects/{project_id}/integrations/local"
        await ask(client, "POST", f"{path}/connect", {}, status=201)

        answer = await client.post(f"/api/v1{path}/bucket/config", json={})

        assert is_problem(answer, 409, "storage_not_checked")

    async def test_shows_the_storage(self, client: httpx.AsyncClient, project_id: str) -> None:
        await connected(client, project_id)

        body = await ask(client, "GET", f"/projects/{project_id}/integrations/local")

        assert (body["status"], body["storage"]) == ("verified", {"provider": "local"})


class TestGetIntegration:
    async def test_is_404_for_what_is_not_there(self, world: World, client: httpx.AsyncClient, project_id: str) -> None:
        await connected(client, project_id)
        async with world.client(await world.stranger_key()) as stranger:
            hidden = await stranger.get(f"/api/v1/projects/{project_id}/integrations/local")
            listed = await stranger.get(f"/api/v1/projects/{project_id}/integrations")
            connect = await stranger.post(f"/api/v1/projects/{project_id}/integrations/local/connect", json={})
            verify = await stranger.post(f"/api/v1/projects/{project_id}/integrations/local/verify", json={})

        assert is_problem(hidden, 404, "integration_not_found")
        assert all(is_problem(answer, 404, "project_not_found") for answer in (listed, connect, verify))
        for provider, code in (("aws", "integration_not_found"), ("heroku", "route_unknown")):
            answer = await client.get(f"/api/v1/projects/{project_id}/integrations/{provider}")
            assert is_problem(answer, 404, code)


class TestDisconnect:
    async def test_ends_deploying_there_and_keeps_what_is_live(
        self, world: World, client: httpx.AsyncClient, project_id: str
    ) -> None:
        await connected(client, project_id)
        function_id = await a_function(client, project_id, artifactFiles=await the_files(client, project_id))
        wanted = {"functionId": function_id, "provider": "local", "target": {}}
        live = await ask(client, "POST", f"/projects/{project_id}/deployments", wanted, status=202)
        await succeeded(world, live)
        path = f"/projects/{project_id}/integrations/local"

        gone = await ask(client, "POST", f"{path}/disconnect", {"reason": "moving"})
        again = await ask(client, "POST", f"{path}/disconnect", {"reason": "moving"})

        assert gone == again == await ask(client, "GET", path)
        assert (gone["status"], gone["identity"], gone["storage"]) == ("disconnected", None, None)
        refused = await client.post(f"/api/v1/projects/{project_id}/deployments", json=wanted)
        assert is_problem(refused, 409, "provider_not_connected")
        place = f"/projects/{project_id}/deployments/{live['deploymentId']}"
        assert (await ask(client, "GET", place))["active"] is True
        await ask(client, "POST", f"{place}/undeploy", {}, status=202)

    async def test_can_be_connected_again_and_begins_anew(self, client: httpx.AsyncClient, project_id: str) -> None:
        await connected(client, project_id)
        path = f"/projects/{project_id}/integrations/local"
        await ask(client, "POST", f"{path}/disconnect", {})

        anew = await ask(client, "POST", f"{path}/connect", {})

        assert (anew["status"], anew["storage"]) == ("pending", None)

    @pytest.mark.parametrize("provider", ["local", "aws", "azure", "gcp"])
    async def test_refuses_what_was_never_connected(
        self, client: httpx.AsyncClient, project_id: str, provider: str
    ) -> None:
        answer = await client.post(f"/api/v1/projects/{project_id}/integrations/{provider}/disconnect", json={})

        assert is_problem(answer, 404, "integration_not_found")


class TestWhatIsAskedFor:
    def test_is_no_secret_of_a_cloud(self) -> None:
        """*Goal:* identity is keyless everywhere: no route that connects a cloud has a field for one of its secrets."""
        asked = {
            f"{method} {path}": set(_fields(media["schema"]))
            for method, path, said in operations()
            if "/integrations/" in path
            for media in said.get("requestBody", {}).get("content", {}).values()
        }

        assert sum(bool(names) for names in asked.values()) > 8
        assert {name for names in asked.values() for name in names if _SECRET.search(name)} == set()


_SECRET = re.compile(r"secret|password|credential|private|key|token", re.IGNORECASE)


def _fields(schema: dict[str, Any]) -> Iterator[str]:
    """The names of all fields of a schema, however deep."""
    schema = resolved(schema)
    for name, inner in schema.get("properties", {}).items():
        yield name
        yield from _fields(inner)
    for key in ("oneOf", "anyOf", "allOf"):
        for inner in schema.get(key, ()):
            yield from _fields(inner)
