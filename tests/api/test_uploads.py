"""Uploads over HTTP."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from api.first_start import TENANT_ID
from tests.api.steps import CONTENTS, NAMES, a_project, ask, connected, fields_of, is_problem, upload
from tests.api.world import MAIN_DART, UPLOAD_BYTES_MAX, World
from tests.support.kept import bytes_of

EDGE = "an-edge"
HEADERS = {"Content-Type": f"multipart/form-data; boundary={EDGE}"}


@pytest.fixture
async def project_id(client: httpx.AsyncClient) -> str:
    return await a_project(client)


def a_part(name: str, content: bytes, file_name: str = "") -> bytes:
    file = f'; filename="{file_name}"' if file_name else ""
    return f'--{EDGE}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + content + b"\r\n"


END = f"--{EDGE}--\r\n".encode()


async def _plan_takes(world: World, bytes_max: int) -> None:
    """Let the plan of the tenant allow files of so many bytes."""
    async with world.client(world.operator_key) as operator:
        plan = await ask(operator, "GET", "/operations/plans/enterprise")
        body = {"limits": {**plan["limits"], "uploadBytes": bytes_max}, "entitlements": plan["entitlements"]}
        await ask(operator, "PUT", "/operations/plans/enterprise", body)


class TestThePlan:
    """A file may have as many bytes as the plan says, and never more than the service takes."""

    @pytest.mark.parametrize("kind", ["code", "docker"])
    async def test_says_how_large_a_file_may_be(
        self, world: World, client: httpx.AsyncClient, project_id: str, kind: str
    ) -> None:
        limit = len(CONTENTS[kind]) + 10
        await _plan_takes(world, limit)
        content = CONTENTS[kind] + b"\n" * 10

        taken = await upload(client, kind, project_id, content=content)
        refused = await upload(client, kind, project_id, content=content + b"\n")

        assert (taken.status_code, taken.json()["sizeBytes"]) == (201, limit)
        assert is_problem(refused, 413, "body_too_large")
        assert str(limit) in refused.json()["detail"]
        assert (await ask(client, "GET", f"/projects/{project_id}/artifacts"))["items"] == [taken.json()]

    async def test_never_lets_more_than_the_service_takes(
        self, world: World, client: httpx.AsyncClient, project_id: str
    ) -> None:
        await _plan_takes(world, UPLOAD_BYTES_MAX * 2)
        content = MAIN_DART + b"\n" * (UPLOAD_BYTES_MAX + 1 - len(MAIN_DART))

        assert is_problem(await upload(client, "code", project_id, content=content), 413, "body_too_large")
        assert (await upload(client, "code", project_id, content=content[:-1])).status_code == 201

    async def test_holds_for_what_is_sent_in_pieces(
        self, world: World, client: httpx.AsyncClient, project_id: str
    ) -> None:
        await _plan_takes(world, 100)
        path = f"/api/v1/projects/{project_id}/uploads?kind=code"
        content, pieces = MAIN_DART.ljust(101), {"Content-Type": "application/partial-upload"}

        named = await client.post(path, headers={"Upload-Complete": "?0", "Upload-Length": "101"})
        begun = await client.post(path, headers={"Upload-Complete": "?0"}, content=content[:60])
        beyond = await client.patch(
            begun.headers["location"],
            headers={"Upload-Offset": "60", "Upload-Complete": "?1", **pieces},
            content=content[60:],
        )

        assert is_problem(named, 413, "body_too_large")
        assert begun.headers["upload-limit"].startswith("max-size=100,")
        assert is_problem(beyond, 413, "body_too_large")
        assert (await ask(client, "GET", f"/projects/{project_id}/artifacts"))["items"] == []


class TestUpload:
    @pytest.mark.parametrize("kind", ["code", "docker", "yaml"])
    async def test_answers_201_with_the_artifact_and_keeps_its_bytes(
        self, world: World, client: httpx.AsyncClient, project_id: str, kind: str
    ) -> None:
        answer = await upload(client, kind, project_id)

        body = answer.json()
        digest = "sha256:" + hashlib.sha256(CONTENTS[kind]).hexdigest()
        assert answer.status_code == 201, answer.text
        assert set(body) == {
            "artifactId",
            "path",
            "fileName",
            "kind",
            "digest",
            "sizeBytes",
            "provider",
            "createdAt",
            "discardedAt",
            "location",
        }
        assert (body["fileName"], body["kind"], body["digest"]) == (NAMES[kind], kind, digest)
        assert (body["sizeBytes"], body["provider"]) == (len(CONTENTS[kind]), None)
        assert await bytes_of(world.services.contents, TENANT_ID, digest) == CONTENTS[kind]
        assert await bytes_of(world.services.contents, UUID(int=1), digest) is None

    async def test_the_same_bytes_again_are_the_same_artifact(self, client: httpx.AsyncClient, project_id: str) -> None:
        first, again = [await upload(client, "code", project_id) for _ in range(2)]

        assert (first.status_code, again.status_code) == (201, 200)
        assert again.json() == first.json()

    async def test_names_the_connected_storage(self, client: httpx.AsyncClient, project_id: str) -> None:
        await connected(client, project_id)

        assert (await upload(client, "code", project_id)).json()["provider"] == "local"

    async def test_takes_the_parts_in_any_order_and_pieces(self, client: httpx.AsyncClient, project_id: str) -> None:
        body = a_part("file", MAIN_DART, "main.dart") + a_part("projectId", project_id.encode()) + END

        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, len(body), 7):
                yield body[at : at + 7]

        answer = await client.post("/api/v1/functions/upload/code", content=pieces(), headers=HEADERS)

        assert answer.status_code == 201, answer.text

    @pytest.mark.parametrize(
        ("kind", "content", "name", "status", "code"),
        [
            pytest.param("code", b"", "", 422, "file_empty", id="empty"),
            pytest.param("code", b"\xff\xfe\x00main", "", 422, "file_not_utf8", id="no UTF-8"),
            pytest.param("docker", b"FROM \xff", "", 422, "file_not_utf8", id="a Dockerfile that is no UTF-8"),
            pytest.param("code", b"x", "server.py", 422, "file_name_not_taken", id="another name"),
            pytest.param("yaml", b"x", "../pubspec.yaml", 422, "file_name_not_taken", id="a path"),
            pytest.param("yaml", b"name: [", "", 422, "pubspec_not_understood", id="no YAML"),
            pytest.param("yaml", b"a: &a 1\nb: *a\n", "", 422, "pubspec_not_understood", id="an alias"),
            pytest.param(
                "yaml",
                b"name: a\nenvironment: {sdk: latest}\n",
                "",
                422,
                "version_constraint_not_understood",
                id="no constraint",
            ),
            pytest.param("code", b"x" * (UPLOAD_BYTES_MAX + 1), "", 413, "body_too_large", id="too large"),
            pytest.param("code", b"x" * (UPLOAD_BYTES_MAX * 2), "", 413, "body_too_large", id="much too large"),
        ],
    )
    async def test_refuses_files(
        self,
        world: World,
        client: httpx.AsyncClient,
        project_id: str,
        kind: str,
        content: bytes,
        name: str,
        status: int,
        code: str,
    ) -> None:
        before = await world.log.head()

        assert is_problem(await upload(client, kind, project_id, content, name), status, code)
        assert await world.log.head() == before

    async def test_of_what_never_ends_is_refused_while_it_arrives(
        self, client: httpx.AsyncClient, project_id: str
    ) -> None:
        piece, taken = bytes(4096), 0
        most = 4 * UPLOAD_BYTES_MAX

        async def endless() -> AsyncIterator[bytes]:
            nonlocal taken
            yield a_part("projectId", project_id.encode())
            yield a_part("file", b"", "main.dart").removesuffix(b"\r\n")
            while taken < most:
                taken += len(piece)
                yield piece

        answer = await client.post("/api/v1/functions/upload/code", content=endless(), headers=HEADERS)

        assert is_problem(answer, 413, "body_too_large")
        assert taken <= UPLOAD_BYTES_MAX + 2 * len(piece)

    @pytest.mark.parametrize(
        ("body", "status", "code", "fields"),
        [
            pytest.param(b"", 400, "form_malformed", [], id="no body"),
            pytest.param(b"nonsense", 400, "form_malformed", [], id="no form"),
            pytest.param(a_part("file", b"x", "main.dart"), 400, "form_malformed", [], id="cut off"),
            pytest.param(a_part("file", b"x", "main.dart")[:-4], 400, "form_malformed", [], id="cut off in the file"),
            pytest.param(END, 422, "body_invalid", ["file"], id="no parts"),
            pytest.param(a_part("file", b"x") + END, 422, "body_invalid", ["file"], id="a file without a name"),
            pytest.param(a_part("file", b"x", "main.dart") + END, 422, "body_invalid", ["projectId"], id="no project"),
            pytest.param(
                a_part("file", b"x", "main.dart") + a_part("projectId", b"x") + END,
                422,
                "body_invalid",
                ["projectId"],
                id="no id",
            ),
            pytest.param(a_part("colour", b"red") + END, 422, "body_invalid", ["colour"], id="an unknown part"),
            pytest.param(a_part("file", b"x", "main.dart") * 2 + END, 422, "body_invalid", ["file"], id="two files"),
            pytest.param(
                a_part("projectId", b"x" * 2000) + END, 413, "body_too_large", ["projectId"], id="a long field"
            ),
            pytest.param(
                a_part("projectId", b"\xff") + a_part("file", b"x", "main.dart") + END,
                400,
                "form_malformed",
                [],
                id="a field that is no UTF-8",
            ),
        ],
    )
    async def test_refuses_forms(
        self, client: httpx.AsyncClient, body: bytes, status: int, code: str, fields: list[str]
    ) -> None:
        answer = await client.post("/api/v1/functions/upload/code", content=body, headers=HEADERS)

        assert is_problem(answer, status, code)
        assert fields_of(answer) == fields

    @pytest.mark.parametrize("media_type", ["application/json", "multipart/form-data", ""])
    async def test_refuses_what_is_no_form(self, client: httpx.AsyncClient, media_type: str) -> None:
        answer = await client.post("/api/v1/functions/upload/code", content=b"{}", headers={"Content-Type": media_type})

        assert answer.status_code in (400, 415)
        assert answer.json()["code"] in ("form_malformed", "media_type_not_taken")

    async def test_does_not_add_a_part_without_a_file_name_to_the_file(
        self, client: httpx.AsyncClient, project_id: str
    ) -> None:
        parts = a_part("projectId", project_id.encode()) + a_part("file", b"// mine\n")
        form = parts + a_part("file", MAIN_DART, "main.dart") + END

        answer = await client.post("/api/v1/functions/upload/code", content=form, headers=HEADERS)

        assert is_problem(answer, 422, "body_invalid")

    async def test_refuses_a_provider_without_storage(self, client: httpx.AsyncClient, project_id: str) -> None:
        body = a_part("projectId", project_id.encode()) + a_part("provider", b"local")
        answers = [
            await client.post(
                "/api/v1/functions/upload/code",
                content=parts + a_part("file", b"x", "main.dart") + END,
                headers=HEADERS,
            )
            for parts in (body, body.replace(b"local", b"heroku"))
        ]

        assert is_problem(answers[0], 409, "storage_not_configured")
        assert is_problem(answers[1], 422, "body_invalid")

    async def test_refuses_another_tenants_project(
        self, world: World, client: httpx.AsyncClient, project_id: str
    ) -> None:
        async with world.client(await world.stranger_key()) as stranger:
            assert is_problem(await upload(stranger, "code", project_id), 404, "project_not_found")
        assert is_problem(await upload(client, "code", str(uuid4())), 404, "project_not_found")

    async def test_one_key_is_one_upload(self, client: httpx.AsyncClient, project_id: str) -> None:
        key: dict[str, Any] = {"Idempotency-Key": "upload-1"}
        first = await upload(client, "code", project_id, **key)
        again = await upload(client, "code", project_id, **key)
        other = await upload(client, "code", project_id, b"void main() {}", **key)

        assert (first.status_code, again.status_code) == (201, 201)
        assert again.content == first.content
        assert is_problem(other, 409, "idempotency_key_reused")
