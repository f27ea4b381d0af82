"""Artifacts over HTTP: listed, got, downloaded."""

from __future__ import annotations

import hashlib
from uuid import uuid4

import httpx

from tests.api.steps import a_project, ask, is_problem, the_files, upload
from tests.api.world import MAIN_DART, World


class TestListArtifacts:
    async def test_shows_what_the_uploads_answered_newest_first(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        uploaded = [(await upload(client, kind, project_id)).json() for kind in ("code", "docker", "yaml")]

        listed = await ask(client, "GET", f"/projects/{project_id}/artifacts")

        assert listed == {"items": uploaded[::-1], "nextCursor": None}

    async def test_of_no_project_is_404(self, client: httpx.AsyncClient) -> None:
        assert is_problem(await client.get(f"/api/v1/projects/{uuid4()}/artifacts"), 404, "project_not_found")


class TestGetArtifact:
    async def test_takes_the_id_and_the_digest(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        uploaded = (await upload(client, "code", project_id)).json()
        base = f"/projects/{project_id}/artifacts"

        assert await ask(client, "GET", f"{base}/{uploaded['artifactId']}") == uploaded
        assert await ask(client, "GET", f"{base}/{uploaded['digest']}") == uploaded

    async def test_knows_nothing_of_others(self, world: World, client: httpx.AsyncClient) -> None:
        project_id, other_id = await a_project(client), await a_project(client, "other")
        uploaded = (await upload(client, "code", project_id)).json()
        for reference in (uploaded["artifactId"], uploaded["digest"], "main.dart", str(uuid4())):
            path = f"/api/v1/projects/{other_id}/artifacts/{reference}"
            assert is_problem(await client.get(path), 404, "artifact_not_found")
            assert is_problem(await client.get(f"{path}/content"), 404, "artifact_not_found")
        async with world.client(await world.stranger_key()) as stranger:
            path = f"/api/v1/projects/{project_id}/artifacts/{uploaded['digest']}/content"
            assert is_problem(await stranger.get(path), 404, "artifact_not_found")


class TestDownloadArtifact:
    async def test_gives_the_very_bytes_under_their_digest(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        await the_files(client, project_id)
        digest = "sha256:" + hashlib.sha256(MAIN_DART).hexdigest()

        got = await client.get(f"/api/v1/projects/{project_id}/artifacts/{digest}/content")
        again = await client.get(str(got.url), headers={"If-None-Match": got.headers["etag"]})

        assert got.content == MAIN_DART
        assert got.headers["etag"] == f'"{digest}"'
        assert got.headers["content-disposition"] == 'attachment; filename="main.dart"'
        assert "immutable" in got.headers["cache-control"]
        assert (again.status_code, again.content) == (304, b"")
