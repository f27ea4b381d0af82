"""Artifacts over HTTP: listed, got, downloaded."""

from __future__ import annotations

import hashlib
from typing import IO
from uuid import UUID, uuid4

import asyncpg
import httpx
import msgspec

from api.first_start import TENANT_ID
from eventstore.contents import MemoryContents
from tests.api.steps import a_project, ask, is_problem, the_files, upload
from tests.api.world import MAIN_DART, UPLOAD_BYTES_MAX, World
from tests.support.kept import put_bytes


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

    async def test_says_how_long_it_is_and_with_head_nothing_else(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        content = MAIN_DART + b"\n" * (UPLOAD_BYTES_MAX - len(MAIN_DART))
        made = (await upload(client, "code", project_id, content)).json()
        path = f"/api/v1/projects/{project_id}/artifacts/{made['digest']}/content"

        got, head = await client.get(path), await client.head(path)

        assert got.content == content
        assert got.headers["content-length"] == head.headers["content-length"] == str(len(content))
        assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", got.headers["etag"])

    async def test_refuses_what_breaks_off_in_the_store_before_anything_is_sent(
        self, world: World, client: httpx.AsyncClient
    ) -> None:
        class Lapsing(MemoryContents):
            async def read_into(self, tenant_id: UUID, digest: str, into: IO[bytes]) -> bool:
                into.write(MAIN_DART[:5])
                raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

        project_id = await a_project(client)
        digest = (await upload(client, "code", project_id)).json()["digest"]
        path = f"/api/v1/projects/{project_id}/artifacts/{digest}/content"
        kept = world.services.contents
        msgspec.structs.force_setattr(world.services, "contents", Lapsing())
        refused = await client.get(path)
        msgspec.structs.force_setattr(world.services, "contents", kept)

        assert refused.status_code == 503
        assert refused.headers["content-type"] == "application/problem+json"
        assert (await client.get(path)).content == MAIN_DART

    async def test_refuses_what_is_damaged_before_anything_is_sent(
        self, world: World, client: httpx.AsyncClient
    ) -> None:
        """*Method:* something else lies under the digest, as when a disk forgets."""
        project_id = await a_project(client)
        digest = "sha256:" + hashlib.sha256(MAIN_DART).hexdigest()
        await put_bytes(world.services.contents, TENANT_ID, digest, MAIN_DART[:-1])
        await upload(client, "code", project_id)
        path = f"/api/v1/projects/{project_id}/artifacts/{digest}/content"

        assert is_problem(await client.get(path), 404, "artifact_content_gone")
        assert (await client.head(path)).status_code == 404
