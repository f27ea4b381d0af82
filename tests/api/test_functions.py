"""Functions over HTTP."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import httpx
import pytest

from tests.api.steps import a_draft, a_function, a_project, ask, fields_of, is_problem, the_files, upload
from tests.api.world import World

SHAPE = {
    "functionId",
    "projectId",
    "name",
    "slug",
    "description",
    "trigger",
    "runtime",
    "access",
    "provider",
    "environment",
    "secretNames",
    "artifactFiles",
    "status",
    "activeDeploymentId",
    "changedSinceDeploy",
    "revision",
    "createdAt",
    "updatedAt",
}


@pytest.fixture
async def project_id(client: httpx.AsyncClient) -> str:
    return await a_project(client)


class TestCreateFunction:
    async def test_answers_201_with_the_draft_as_get_shows_it(self, client: httpx.AsyncClient, project_id: str) -> None:
        files = await the_files(client, project_id)

        answer = await client.post("/api/v1/functions", json=a_draft(project_id, artifactFiles=files))

        body = answer.json()
        assert answer.status_code == 201, answer.text
        assert set(body) == SHAPE
        assert (body["status"], body["revision"], body["secretNames"]) == ("draft", 1, [])
        assert set(body["artifactFiles"]) == {"code_file", "docker_file", "yaml_file"}
        got = await client.get(answer.headers["location"])
        assert got.json() == body
        assert got.headers["etag"] == answer.headers["etag"]

    async def test_gets_the_default_runtime_when_it_names_none(
        self, client: httpx.AsyncClient, project_id: str
    ) -> None:
        """Made, made by saving, and saved over: what is left out is what the catalog offers first."""
        plain = {"projectId": project_id, "name": "plain"}

        made = await ask(client, "POST", "/functions", plain, status=201)
        saved = await ask(client, "POST", "/functions/save", plain | {"name": "saved"}, status=201)
        older = {"functionId": made["functionId"], "runtime": "3.10.0"}
        changed = await ask(client, "PUT", "/functions/update", older)
        replaced = await ask(client, "POST", "/functions/save", plain)

        default = (await ask(client, "GET", "/runtimes"))["default"]
        assert [body["runtime"] for body in (made, saved, changed, replaced)] == [default, default, "3.10.0", default]

    async def test_takes_artifacts_by_id_as_well(self, client: httpx.AsyncClient, project_id: str) -> None:
        artifact = (await upload(client, "code", project_id)).json()

        body = await ask(
            client,
            "POST",
            "/functions",
            a_draft(project_id, artifactFiles={"code_file": artifact["artifactId"]}),
            status=201,
        )

        assert body["artifactFiles"]["code_file"] == artifact["artifactId"]

    @pytest.mark.parametrize(
        ("changes", "status", "code", "fields"),
        [
            pytest.param({"color": 1}, 422, "body_invalid", ["color"], id="an unknown field"),
            pytest.param({"name": None}, 422, "body_invalid", ["name"], id="no name"),
            pytest.param({"projectId": "x"}, 422, "body_invalid", ["projectId"], id="no id"),
            pytest.param({"access": "open"}, 422, "body_invalid", ["access"], id="another access"),
            pytest.param({"trigger": {"type": 5}}, 422, "body_invalid", ["trigger.type"], id="a type of wrong type"),
            pytest.param({"trigger": {"kind": "x"}}, 422, "body_invalid", ["trigger.kind"], id="unknown within"),
            pytest.param({"trigger": {"type": "mail"}}, 422, "trigger_unknown", ["trigger.type"], id="unknown trigger"),
            pytest.param(
                {"trigger": {"type": "http", "settings": {"a": 1}}},
                422,
                "trigger_settings_invalid",
                ["trigger.settings.a"],
                id="settings that do not fit",
            ),
            pytest.param(
                {"trigger": {"type": "schedule", "settings": {"cron": "daily"}}},
                422,
                "trigger_settings_invalid",
                ["trigger.settings.cron"],
                id="a setting that does not fit",
            ),
            pytest.param({"runtime": "3.9.0"}, 422, "runtime_not_selectable", ["runtime"], id="a disabled runtime"),
            pytest.param({"runtime": "9.9.9"}, 422, "runtime_unknown", ["runtime"], id="an unknown runtime"),
            pytest.param({"environment": {"A": 1}}, 422, "body_invalid", ["environment.A"], id="a number"),
            pytest.param(
                {"environment": {"PORT": "1"}}, 422, "environment_name_not_allowed", ["environment.PORT"], id="PORT"
            ),
            pytest.param(
                {"artifactFiles": {"code_file": "0195d3a4-5b6c-7d8e-9f00-112233445566"}},
                404,
                "artifact_not_found",
                ["artifactFiles.code_file"],
                id="an unknown artifact",
            ),
            pytest.param(
                {"artifactFiles": {"code_file": "main.dart"}},
                404,
                "artifact_not_found",
                ["artifactFiles.code_file"],
                id="no path of ours",
            ),
            pytest.param(
                {"artifactFiles": {"codeFile": "x"}}, 422, "body_invalid", ["artifactFiles.codeFile"], id="camel files"
            ),
        ],
    )
    async def test_refuses_by_field(
        self,
        client: httpx.AsyncClient,
        project_id: str,
        changes: dict[str, object],
        status: int,
        code: str,
        fields: list[str],
    ) -> None:
        answer = await client.post("/api/v1/functions", json=a_draft(project_id, **changes))

        assert is_problem(answer, status, code)
        assert fields_of(answer) == fields
        assert (await ask(client, "GET", f"/projects/{project_id}/functions"))["items"] == []

    async def test_refuses_settings_nested_beyond_reason(self, client: httpx.AsyncClient, project_id: str) -> None:
        deep = b'{"projectId":"x","name":"a","runtime":"3.11.0","trigger":{"settings":{"a":' + b"[" * 5000 + b"}}}"

        answer = await client.post("/api/v1/functions", content=deep)

        assert answer.status_code in (400, 422)

    async def test_refuses_a_taken_name_and_another_tenants_project(
        self, world: World, client: httpx.AsyncClient, project_id: str
    ) -> None:
        await a_function(client, project_id)
        async with world.client(await world.stranger_key()) as stranger:
            hidden = await stranger.post("/api/v1/functions", json=a_draft(project_id))

        assert is_problem(await client.post("/api/v1/functions", json=a_draft(project_id)), 409, "function_name_taken")
        assert is_problem(hidden, 404, "project_not_found")


class TestSaveFunction:
    async def test_creates_then_replaces_by_name(self, client: httpx.AsyncClient, project_id: str) -> None:
        made = await ask(
            client,
            "POST",
            "/functions/save",
            a_draft(project_id, description="one", environment={"A": "1"}),
            status=201,
        )

        saved = await ask(client, "POST", "/functions/save", a_draft(project_id, name="Hello", description="two"))

        assert saved["functionId"] == made["functionId"]
        assert (saved["description"], saved["environment"], saved["revision"]) == ("two", {}, 2)

    async def test_replaces_by_id(self, client: httpx.AsyncClient, project_id: str) -> None:
        function_id = await a_function(client, project_id)

        saved = await ask(
            client, "POST", "/functions/save", a_draft(project_id, functionId=function_id, name="renamed")
        )

        assert (saved["functionId"], saved["name"], saved["slug"]) == (function_id, "renamed", "hello")

    async def test_an_unknown_id_is_404(self, client: httpx.AsyncClient, project_id: str) -> None:
        answer = await client.post("/api/v1/functions/save", json=a_draft(project_id, functionId=str(uuid4())))

        assert is_problem(answer, 404, "function_not_found")

    async def test_repeated_under_its_key_answers_the_first_time(
        self, client: httpx.AsyncClient, project_id: str
    ) -> None:
        headers = {"Idempotency-Key": "save-1"}
        first = await client.post("/api/v1/functions/save", json=a_draft(project_id), headers=headers)

        again = await client.post("/api/v1/functions/save", json=a_draft(project_id), headers=headers)

        assert (first.status_code, again.status_code) == (201, 201)
        assert again.content == first.content

    async def test_many_at_once_make_one_function(self, client: httpx.AsyncClient, project_id: str) -> None:
        answers = await asyncio.gather(
            *(client.post("/api/v1/functions/save", json=a_draft(project_id, description=str(n))) for n in range(5))
        )

        assert {answer.status_code for answer in answers} <= {200, 201, 503}
        assert len((await ask(client, "GET", f"/projects/{project_id}/functions"))["items"]) == 1

    async def test_is_refused_for_what_else_is_wrong(self, client: httpx.AsyncClient, project_id: str) -> None:
        answer = await client.post("/api/v1/functions/save", json=a_draft(project_id, runtime="3.9.0"))

        assert is_problem(answer, 422, "runtime_not_selectable")


class TestUpdateFunction:
    async def test_changes_what_is_named_and_nothing_else(self, client: httpx.AsyncClient, project_id: str) -> None:
        function_id = await a_function(client, project_id, description="one", environment={"A": "1"})

        body = await ask(client, "PUT", "/functions/update", {"functionId": function_id, "description": "two"})

        assert (body["description"], body["environment"], body["runtime"]) == ("two", {"A": "1"}, "3.11.0")
        assert await ask(client, "GET", f"/projects/{project_id}/functions/{function_id}") == body

    async def test_patch_does_the_same_within_its_project(self, client: httpx.AsyncClient, project_id: str) -> None:
        function_id = await a_function(client, project_id)
        other = await a_project(client, "other")

        body = await ask(client, "PATCH", f"/projects/{project_id}/functions/{function_id}", {"access": "private"})
        elsewhere = await client.patch(f"/api/v1/projects/{other}/functions/{function_id}", json={"access": "public"})

        assert body["access"] == "private"
        assert is_problem(elsewhere, 404, "function_not_found")

    async def test_files_are_replaced_one_by_one(self, client: httpx.AsyncClient, project_id: str) -> None:
        function_id = await a_function(client, project_id, artifactFiles=await the_files(client, project_id))
        before = (await ask(client, "GET", f"/projects/{project_id}/functions/{function_id}"))["artifactFiles"]
        newer = (await upload(client, "code", project_id, b"void main() { print(2); }\n")).json()["artifactId"]

        named = {"functionId": function_id, "artifactFiles": {"code_file": newer, "docker_file": None}}
        changed = (await ask(client, "PUT", "/functions/update", named))["artifactFiles"]
        whole = a_draft(project_id, artifactFiles={"code_file": newer})
        saved = (await ask(client, "POST", "/functions/save", whole))["artifactFiles"]

        assert changed == {"code_file": newer, "docker_file": None, "yaml_file": before["yaml_file"]}
        assert saved == {"code_file": newer, "docker_file": None, "yaml_file": None}

    async def test_a_stale_version_is_412(self, client: httpx.AsyncClient, project_id: str) -> None:
        function_id = await a_function(client, project_id)
        tag = (await client.get(f"/api/v1/projects/{project_id}/functions/{function_id}")).headers["etag"]
        await ask(client, "PUT", "/functions/update", {"functionId": function_id, "description": "moved on"})

        for given in (tag, '"0"', "nonsense", 'W/"1"'):
            answer = await client.put(
                "/api/v1/functions/update",
                json={"functionId": function_id, "description": "late"},
                headers={"If-Match": given},
            )
            assert is_problem(answer, 412, "precondition_failed")

    async def test_the_present_version_is_taken(self, client: httpx.AsyncClient, project_id: str) -> None:
        function_id = await a_function(client, project_id)
        tag = (await client.get(f"/api/v1/projects/{project_id}/functions/{function_id}")).headers["etag"]

        for given in (f'"0", {tag}', "*"):
            answer = await client.put(
                "/api/v1/functions/update",
                json={"functionId": function_id, "description": given},
                headers={"If-Match": given},
            )
            assert answer.status_code == 200, answer.text

    async def test_another_tenants_is_404_like_a_random_one(
        self, world: World, client: httpx.AsyncClient, project_id: str
    ) -> None:
        function_id = await a_function(client, project_id)
        async with world.client(await world.stranger_key()) as stranger:
            answers = [
                await stranger.put("/api/v1/functions/update", json={"functionId": id, "description": "mine"})
                for id in (function_id, str(uuid4()))
            ]

        assert all(is_problem(answer, 404, "function_not_found") for answer in answers)
        assert {**answers[0].json(), "correlationId": ""} == {**answers[1].json(), "correlationId": ""}


class TestListFunctions:
    async def test_is_404_for_a_project_that_is_not_the_tenants(
        self, world: World, client: httpx.AsyncClient, project_id: str
    ) -> None:
        await a_function(client, project_id)
        async with world.client(await world.stranger_key()) as stranger:
            hidden = await stranger.get(f"/api/v1/projects/{project_id}/functions")

        assert is_problem(hidden, 404, "project_not_found")
        assert is_problem(await client.get(f"/api/v1/projects/{uuid4()}/functions"), 404, "project_not_found")
