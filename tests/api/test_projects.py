"""Projects over HTTP."""

from __future__ import annotations

import asyncio
import gzip
from uuid import uuid4

import httpx
import pytest

from tests.api.steps import a_function, a_project, ask, connected, fields_of, is_problem, the_files
from tests.api.world import World


class TestCreateProject:
    async def test_answers_201_with_the_project_its_place_and_its_version(self, client: httpx.AsyncClient) -> None:
        answer = await client.post("/api/v1/projects", json={"name": "Web Shop"})

        body = answer.json()
        assert answer.status_code == 201
        assert set(body) == {"projectId", "name", "slug", "status", "deployLock", "createdAt", "updatedAt"}
        assert (body["name"], body["slug"], body["status"]) == ("Web Shop", "web-shop", "active")
        assert answer.headers["location"] == f"/api/v1/projects/{body['projectId']}"
        assert answer.headers["event-position"].startswith("1:")
        got = await client.get(answer.headers["location"])
        assert got.json() == body
        assert got.headers["etag"] == answer.headers["etag"]

    async def test_refuses_a_taken_name_whatever_its_case(self, client: httpx.AsyncClient) -> None:
        await a_project(client, "shop")

        assert is_problem(await client.post("/api/v1/projects", json={"name": "SHOP"}), 409, "project_name_taken")

    async def test_says_why_the_name_a_renamed_project_was_made_under_stays_taken(
        self, client: httpx.AsyncClient
    ) -> None:
        project = await a_project(client, "shop")
        await client.patch(f"/api/v1/projects/{project}", json={"name": "store"})

        taken = await client.post("/api/v1/projects", json={"name": "shop"})

        assert is_problem(taken, 409, "project_name_taken")
        assert "was made under it" in taken.json()["detail"]
        assert "`slug`" in taken.json()["remedy"]

    @pytest.mark.parametrize(
        ("content", "status", "code", "fields"),
        [
            pytest.param(b'{"name":"a","colour":"red"}', 422, "body_invalid", ["colour"], id="an unknown field"),
            pytest.param(b"{}", 422, "body_invalid", ["name"], id="a missing field"),
            pytest.param(b"", 422, "body_invalid", ["name"], id="no body"),
            pytest.param(b'{"name":5}', 422, "body_invalid", ["name"], id="a wrong type"),
            pytest.param(b'{"name":null}', 422, "body_invalid", ["name"], id="null"),
            pytest.param(b'{"name":""}', 422, "body_invalid", ["name"], id="an empty name"),
            pytest.param(b'{"name":"-"}', 422, "name_not_allowed", ["name"], id="a name that cannot be one"),
            pytest.param(b'{"name":"a\\u0000b"}', 422, "name_not_allowed", ["name"], id="a NUL"),
            pytest.param(b"[]", 422, "body_invalid", ["body"], id="a list"),
            pytest.param(b'{"name":"a"', 400, "body_malformed", [], id="cut off"),
            pytest.param(b"name=a", 400, "body_malformed", [], id="no JSON"),
            pytest.param(b'{"name":"\xff"}', 400, "body_malformed", [], id="no UTF-8"),
            pytest.param(b'{"name":"' + b"a" * 30_000 + b'"}', 413, "body_too_large", [], id="too large"),
        ],
    )
    async def test_refuses_bad_bodies_by_field(
        self, client: httpx.AsyncClient, content: bytes, status: int, code: str, fields: list[str]
    ) -> None:
        answer = await client.post("/api/v1/projects", content=content, headers={"Content-Type": "application/json"})

        assert is_problem(answer, status, code)
        assert fields_of(answer) == fields
        assert (await ask(client, "GET", "/projects"))["items"] == []

    @pytest.mark.parametrize(
        "given", ["text/plain", "application/json; charset=utf-16", 'application/json;Charset="latin1"']
    )
    async def test_refuses_another_media_type(self, client: httpx.AsyncClient, given: str) -> None:
        answer = await client.post("/api/v1/projects", content=b'{"name":"shop"}', headers={"Content-Type": given})

        assert is_problem(answer, 415, "media_type_not_taken")

    async def test_takes_utf_8_by_its_name(self, client: httpx.AsyncClient) -> None:
        named = {"Content-Type": "application/json; charset=UTF-8"}

        assert (await client.post("/api/v1/projects", content=b'{"name":"shop"}', headers=named)).status_code == 201

    async def test_refuses_a_transfer_encoding_it_would_not_undo(self, client: httpx.AsyncClient) -> None:
        answer = await client.post(
            "/api/v1/projects", content=b'{"name":"shop"}', headers={"Transfer-Encoding": "gzip, chunked"}
        )

        assert is_problem(answer, 415, "media_type_not_taken")
        assert fields_of(answer) == ["Transfer-Encoding"]

    async def test_refuses_a_body_in_an_encoding(self, client: httpx.AsyncClient) -> None:
        """By what it is called, not as broken JSON, and says which encodings are taken (RFC 9110, 15.5.16)."""
        for path, content_type in (
            ("projects", "application/json"),
            ("functions/upload/code", "multipart/form-data; boundary=x"),
        ):
            answer = await client.post(
                f"/api/v1/{path}",
                content=gzip.compress(b'{"name": "shop"}'),
                headers={"Content-Type": content_type, "Content-Encoding": "gzip"},
            )

            assert is_problem(answer, 415, "media_type_not_taken")
            assert fields_of(answer) == ["Content-Encoding"]
            assert answer.headers["accept-encoding"] == "identity"

    async def test_a_hundred_of_one_key_at_once_make_one(self, client: httpx.AsyncClient) -> None:
        headers = {"Idempotency-Key": uuid4().hex}

        answers = await asyncio.gather(
            *(client.post("/api/v1/projects", json={"name": "shop"}, headers=headers) for _ in range(100))
        )

        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.content for answer in answers}) == 1
        assert len((await ask(client, "GET", "/projects"))["items"]) == 1


class TestRenameProject:
    async def test_changes_the_name_and_keeps_the_segment(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client, "shop")

        body = await ask(client, "PATCH", f"/projects/{project_id}", {"name": "store"})

        assert (body["name"], body["slug"]) == ("store", "shop")
        assert await ask(client, "GET", f"/projects/{project_id}") == body

    async def test_the_same_name_changes_nothing(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client, "shop")
        before = await client.get(f"/api/v1/projects/{project_id}")

        answer = await client.patch(f"/api/v1/projects/{project_id}", json={"name": "shop"})

        assert answer.json() == before.json()
        assert answer.headers["etag"] == before.headers["etag"]

    async def test_refuses_what_has_changed_since(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client, "shop")
        tag = (await client.get(f"/api/v1/projects/{project_id}")).headers["etag"]
        fresh = await client.patch(f"/api/v1/projects/{project_id}", json={"name": "store"}, headers={"If-Match": tag})

        stale = await client.patch(f"/api/v1/projects/{project_id}", json={"name": "late"}, headers={"If-Match": tag})

        assert fresh.status_code == 200
        assert fresh.headers["etag"] != tag
        assert is_problem(stale, 412, "precondition_failed")


class TestGetProject:
    async def test_knows_nothing_of_another_tenants(self, world: World, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        async with world.client(await world.stranger_key()) as stranger:
            hidden = await stranger.get(f"/api/v1/projects/{project_id}")
            never = await stranger.get(f"/api/v1/projects/{uuid4()}")

        assert is_problem(hidden, 404, "project_not_found")
        assert {**hidden.json(), "correlationId": ""} == {**never.json(), "correlationId": ""}

    async def test_an_id_of_the_wrong_kind_is_404(self, client: httpx.AsyncClient) -> None:
        assert is_problem(await client.get("/api/v1/projects/not-an-id"), 404, "route_unknown")

    async def test_says_304_to_who_has_it_already(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        tag = (await client.get(f"/api/v1/projects/{project_id}")).headers["etag"]

        again = await client.get(f"/api/v1/projects/{project_id}", headers={"If-None-Match": tag})

        assert (again.status_code, again.content) == (304, b"")


class TestListProjects:
    async def test_pages_newest_first(self, client: httpx.AsyncClient) -> None:
        ids = [await a_project(client, f"shop {number}") for number in range(5)]
        seen: list[str] = []
        path = "/projects?limit=2"

        while path:
            body = await ask(client, "GET", path)
            seen += [item["projectId"] for item in body["items"]]
            path = f"/projects?limit=2&cursor={body['nextCursor']}" if body["nextCursor"] else ""

        assert seen == ids[::-1]

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ("limit=0", "parameter_invalid"),
            ("limit=many", "parameter_invalid"),
            ("limit=201", "parameter_invalid"),
            ("limit=1e2", "parameter_invalid"),
            ("limit=1.0", "parameter_invalid"),
            ("limit=1&limit=2", "parameter_invalid"),
            ("colour=red", "parameter_invalid"),
            ("cursor=xyz", "malformed_position"),
            ("cursor=%ff", "parameter_invalid"),
        ],
    )
    async def test_refuses_parameters_it_does_not_know(self, client: httpx.AsyncClient, query: str, code: str) -> None:
        answer = await client.get(f"/api/v1/projects?{query}")

        assert is_problem(answer, 422, code)
        assert fields_of(answer) == ([] if "%ff" in query else [query.partition("=")[0]])

    async def test_refuses_a_cursor_of_another_epoch(self, client: httpx.AsyncClient) -> None:
        assert is_problem(await client.get("/api/v1/projects?cursor=7:1"), 409, "position_of_another_epoch")

    async def test_shows_nothing_of_another_tenants(self, world: World, client: httpx.AsyncClient) -> None:
        await a_project(client)

        async with world.client(await world.stranger_key()) as stranger:
            assert (await ask(stranger, "GET", "/projects"))["items"] == []


class TestArchiveProject:
    async def test_frees_its_name_and_freezes_what_is_in_it(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        function_id = await a_function(client, project_id)

        archived = await ask(client, "POST", f"/projects/{project_id}/archive", {"reason": "closed"})

        assert archived["status"] == "archived"
        assert await ask(client, "GET", f"/projects/{project_id}") == archived
        change = {"functionId": function_id, "description": "late"}
        assert is_problem(await client.put("/api/v1/functions/update", json=change), 409, "project_archived")
        assert await a_project(client) != project_id

    async def test_refuses_while_something_is_live(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        await connected(client, project_id)
        files = await the_files(client, project_id)
        asked = {"functionId": await a_function(client, project_id, artifactFiles=files), "provider": "local"}
        await ask(client, "POST", f"/projects/{project_id}/deployments", {**asked, "target": {}}, status=202)

        answer = await client.post(f"/api/v1/projects/{project_id}/archive", json={})

        assert is_problem(answer, 409, "project_is_live")
        assert "hello" in answer.json()["detail"]
