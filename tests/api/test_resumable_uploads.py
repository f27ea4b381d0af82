"""Uploads that break off and go on: begin, ask, append, finish, give up."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api import resumable_uploads
from api.first_start import TENANT_ID
from api.resumable_uploads import PARTIAL
from tests.api.served import served
from tests.api.steps import a_project, ask, fields_of, is_problem, upload
from tests.api.world import MAIN_DART, UPLOAD_BYTES_MAX, World, world_on_postgres
from tests.support.kept import bytes_of

LONG = b"void main() {}\n" + b"// a line of a long file\n" * 400


@pytest.fixture
async def project_id(client: httpx.AsyncClient) -> str:
    return await a_project(client)


@pytest.fixture(params=["client", "postgres_client"])
def anywhere(request: pytest.FixtureRequest) -> httpx.AsyncClient:
    """The API on either store."""
    client: httpx.AsyncClient = request.getfixturevalue(request.param)
    return client


async def begin(
    client: httpx.AsyncClient,
    project_id: str,
    content: bytes = b"",
    *,
    kind: str = "code",
    complete: bool = False,
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    asked = {"Upload-Complete": "?1" if complete else "?0", **(headers or {})}
    path = f"/api/v1/projects/{project_id}/uploads?kind={kind}"
    return await client.post(path, content=content, headers=asked)


async def append(
    client: httpx.AsyncClient,
    location: str,
    offset: int,
    content: Any,
    *,
    complete: bool = False,
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    asked = {"Upload-Offset": str(offset), "Upload-Complete": "?1" if complete else "?0", "Content-Type": PARTIAL}
    return await client.patch(location, content=content, headers={**asked, **(headers or {})})


async def offset_of(client: httpx.AsyncClient, location: str) -> int:
    return int((await client.head(location)).headers["upload-offset"])


class TestBegin:
    async def test_names_where_to_go_on_and_the_limits(self, client: httpx.AsyncClient, project_id: str) -> None:
        answer = await begin(client, project_id, headers={"Upload-Length": "40"})

        body = answer.json()
        assert answer.status_code == 201, answer.text
        assert answer.headers["location"] == f"/api/v1/projects/{project_id}/uploads/{body['uploadId']}"
        assert (answer.headers["upload-offset"], answer.headers["upload-complete"]) == ("0", "?0")
        assert answer.headers["upload-length"] == "40"
        assert answer.headers["upload-limit"].startswith(f"max-size={UPLOAD_BYTES_MAX}, max-age=86")
        assert (body["offset"], body["length"], body["complete"], body["digest"]) == (0, 40, False, None)

    async def test_takes_the_first_piece_along(self, client: httpx.AsyncClient, project_id: str) -> None:
        answer = await begin(client, project_id, LONG[:100])

        assert answer.headers["upload-offset"] == "100"
        assert await offset_of(client, answer.headers["location"]) == 100

    async def test_of_a_whole_file_answers_with_the_artifact(
        self, world: World, client: httpx.AsyncClient, project_id: str
    ) -> None:
        answer = await begin(client, project_id, MAIN_DART, complete=True)
        plain = await client.post(f"/api/v1/projects/{project_id}/uploads?kind=code", content=MAIN_DART)

        assert (answer.status_code, answer.headers["upload-complete"]) == (200, "?1")
        assert answer.json() == plain.json() == (await upload(client, "code", project_id)).json()
        assert await bytes_of(world.services.contents, TENANT_ID, answer.json()["digest"]) == MAIN_DART

    async def test_repeated_under_its_key_is_one(self, client: httpx.AsyncClient, project_id: str) -> None:
        key = {"Idempotency-Key": str(uuid4())}

        first, again = [await begin(client, project_id, LONG[:10], headers=key) for _ in range(2)]
        other = await begin(client, project_id, kind="yaml", headers=key)

        assert first.json()["uploadId"] == again.json()["uploadId"]
        assert again.headers["upload-offset"] == "10"
        assert is_problem(other, 409, "idempotency_key_reused")

    @pytest.mark.parametrize(
        ("query", "headers", "status", "code", "fields"),
        [
            pytest.param("", {}, 422, "parameter_invalid", ["kind"], id="no kind"),
            pytest.param("kind=binary", {}, 422, "parameter_invalid", ["kind"], id="another kind"),
            pytest.param("kind=code&provider=x", {}, 422, "parameter_invalid", ["provider"], id="no provider"),
            pytest.param("kind=code&provider=local", {}, 409, "storage_not_configured", ["provider"], id="no storage"),
            pytest.param(
                "kind=code", {"Upload-Length": str(UPLOAD_BYTES_MAX + 1)}, 413, "body_too_large", [], id="too long"
            ),
            pytest.param(
                "kind=code", {"Content-Type": "multipart/form-data"}, 415, "media_type_not_taken", [], id="form"
            ),
        ],
    )
    async def test_refuses(
        self,
        client: httpx.AsyncClient,
        project_id: str,
        query: str,
        headers: dict[str, str],
        status: int,
        code: str,
        fields: list[str],
    ) -> None:
        path = f"/api/v1/projects/{project_id}/uploads?{query}"
        answer = await client.post(path, headers={"Upload-Complete": "?0", **headers})

        assert is_problem(answer, status, code)
        assert fields_of(answer) == fields

    async def test_refuses_more_than_may_be_open(
        self, client: httpx.AsyncClient, project_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(resumable_uploads, "OPEN_MAX", 2)
        first = await begin(client, project_id)
        await begin(client, project_id)

        full = await begin(client, project_id)
        await client.delete(first.headers["location"])

        assert is_problem(full, 409, "uploads_full")
        assert (await begin(client, project_id)).status_code == 201

    async def test_options_tell_the_limits(self, client: httpx.AsyncClient, project_id: str) -> None:
        answer = await client.options(f"/api/v1/projects/{project_id}/uploads")

        assert answer.headers["upload-limit"] == f"max-size={UPLOAD_BYTES_MAX}, max-age=86400"
        assert "upload-limit" not in (await client.options("/api/v1/projects")).headers


class TestAppend:
    async def test_piece_by_piece_comes_to_the_artifact_of_the_whole(
        self, world: World, client: httpx.AsyncClient, project_id: str
    ) -> None:
        location = (await begin(client, project_id, headers={"Upload-Length": str(len(LONG))})).headers["location"]

        between = await append(client, location, 0, LONG[:4000])
        last = await append(client, location, 4000, LONG[4000:], complete=True)

        body = last.json()
        assert (between.status_code, between.headers["upload-complete"]) == (202, "?0")
        assert (last.status_code, last.headers["upload-complete"]) == (201, "?1")
        assert body["digest"] == "sha256:" + hashlib.sha256(LONG).hexdigest()
        assert body["sizeBytes"] == len(LONG)
        assert last.headers["location"] == f"/api/v1/projects/{project_id}/artifacts/{body['artifactId']}"
        assert await bytes_of(world.services.contents, TENANT_ID, body["digest"]) == LONG
        assert (await ask(client, "GET", f"/projects/{project_id}/artifacts/{body['artifactId']}")) == body
        state = (await client.get(location)).json()
        assert (state["complete"], state["digest"], state["offset"]) == (True, body["digest"], len(LONG))

    async def test_may_finish_with_nothing_more(self, client: httpx.AsyncClient, project_id: str) -> None:
        location = (await begin(client, project_id, MAIN_DART)).headers["location"]

        assert (await append(client, location, len(MAIN_DART), b"", complete=True)).status_code == 201

    async def test_at_another_offset_is_told_the_right_one(self, client: httpx.AsyncClient, project_id: str) -> None:
        location = (await begin(client, project_id, MAIN_DART)).headers["location"]

        for offset in (0, len(MAIN_DART) - 1, len(MAIN_DART) + 1):
            answer = await append(client, location, offset, b"x")
            assert is_problem(answer, 409, "upload_offset_mismatch")
            assert answer.headers["upload-offset"] == str(len(MAIN_DART))
            assert answer.headers["upload-complete"] == "?0"

    async def test_repeated_after_its_answer_was_lost_gets_it(
        self, world: World, client: httpx.AsyncClient, project_id: str
    ) -> None:
        location = (await begin(client, project_id, LONG[:50])).headers["location"]
        key = {"Idempotency-Key": str(uuid4())}
        first = await append(client, location, 50, LONG[50:], complete=True, headers=key)
        head = await world.log.head()

        again = await append(client, location, 50, LONG[50:], complete=True, headers=key)
        asked = await append(client, location, len(LONG), b"", complete=True)
        other = await append(client, location, 50, LONG[50:] + b"x", complete=True, headers=key)

        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert (asked.status_code, asked.json()) == (200, first.json())
        assert is_problem(other, 409, "idempotency_key_reused")
        assert await world.log.head() == head or asked.headers["event-position"]

    async def test_of_ten_at_once_adds_one(self, anywhere: httpx.AsyncClient) -> None:
        """*Goal:* however many send to one upload, it holds what one of them sent, and each is told the truth."""
        location = (await begin(anywhere, await a_project(anywhere, "shared"))).headers["location"]
        pieces = [b"void main() {} // %d\n" % number for number in range(10)]

        answers = await asyncio.gather(*(append(anywhere, location, 0, piece) for piece in pieces))

        [taken] = [piece for piece, answer in zip(pieces, answers, strict=True) if answer.status_code == 202]
        refused = {answer.json()["code"] for answer in answers if answer.status_code != 202}
        assert refused <= {"upload_overtaken", "upload_offset_mismatch"}
        done = await append(anywhere, location, await offset_of(anywhere, location), b"", complete=True)
        assert done.json()["digest"] == "sha256:" + hashlib.sha256(taken).hexdigest()

    @pytest.mark.parametrize(
        ("headers", "status", "code"),
        [
            pytest.param({"Content-Type": "application/octet-stream"}, 415, "media_type_not_taken", id="media type"),
            pytest.param({"Upload-Offset": "zero"}, 422, "parameter_invalid", id="no offset"),
            pytest.param({"Upload-Offset": "-1"}, 422, "parameter_invalid", id="below"),
            pytest.param({"Upload-Complete": "true"}, 422, "parameter_invalid", id="no boolean"),
            pytest.param({"Upload-Length": "7"}, 400, "upload_length_inconsistent", id="another length"),
        ],
    )
    async def test_refuses(
        self, client: httpx.AsyncClient, project_id: str, headers: dict[str, str], status: int, code: str
    ) -> None:
        location = (await begin(client, project_id, headers={"Upload-Length": "40"})).headers["location"]

        assert is_problem(await append(client, location, 0, b"void", headers=headers), status, code)
        assert await offset_of(client, location) == 0

    async def test_refuses_to_end_before_its_length(self, client: httpx.AsyncClient, project_id: str) -> None:
        location = (await begin(client, project_id, headers={"Upload-Length": "40"})).headers["location"]

        async def pieces() -> AsyncIterator[bytes]:
            yield MAIN_DART[:10]

        assert is_problem(await append(client, location, 0, pieces(), complete=True), 400, "upload_length_inconsistent")
        assert await offset_of(client, location) == 10

    async def test_that_announces_too_much_changes_nothing(self, client: httpx.AsyncClient, project_id: str) -> None:
        location = (await begin(client, project_id, b"void")).headers["location"]

        assert is_problem(await append(client, location, 4, b"x" * UPLOAD_BYTES_MAX), 413, "body_too_large")
        assert await offset_of(client, location) == 4

    async def test_that_brings_too_much_ends_the_upload(self, client: httpx.AsyncClient, project_id: str) -> None:
        location = (await begin(client, project_id, b"void")).headers["location"]

        async def flood() -> AsyncIterator[bytes]:
            for _ in range(20):
                yield b"x" * 5_000

        assert is_problem(await append(client, location, 4, flood()), 413, "body_too_large")
        assert (await client.head(location)).status_code == 404

    @pytest.mark.parametrize(
        ("kind", "content", "code"),
        [
            ("code", b"", "file_empty"),
            ("code", b"\xff", "file_not_utf8"),
            ("yaml", b"name: [", "pubspec_not_understood"),
            ("docker", b"RUN x\n", "dockerfile_not_understood"),
        ],
    )
    async def test_of_a_file_that_is_not_taken_says_that_the_upload_is_complete(
        self, client: httpx.AsyncClient, project_id: str, kind: str, content: bytes, code: str
    ) -> None:
        location = (await begin(client, project_id, kind=kind)).headers["location"]

        answer = await append(client, location, 0, content, complete=True)

        assert is_problem(answer, 422, code)
        assert answer.headers["upload-complete"] == "?1"

    async def test_holds_the_whole_against_the_digest_that_was_announced(
        self, client: httpx.AsyncClient, project_id: str
    ) -> None:
        digest = base64.b64encode(hashlib.sha256(MAIN_DART).digest()).decode()
        headers = {"Repr-Digest": f"sha-256=:{digest}:"}
        right, wrong = [(await begin(client, project_id, headers=headers)).headers["location"] for _ in range(2)]

        taken = await append(client, right, 0, MAIN_DART, complete=True)
        refused = await append(client, wrong, 0, MAIN_DART + b" ", complete=True)

        assert taken.status_code == 201
        assert is_problem(refused, 422, "digest_mismatch")
        assert (await client.head(wrong)).status_code == 404


class TestCancel:
    async def test_forgets_what_there_is(self, client: httpx.AsyncClient, project_id: str) -> None:
        location = (await begin(client, project_id, MAIN_DART)).headers["location"]

        assert (await client.delete(location)).status_code == 200

        assert is_problem(await client.get(location), 404, "upload_not_found")
        assert is_problem(await client.delete(location), 404, "upload_not_found")
        assert is_problem(await append(client, location, 0, b"x"), 404, "upload_not_found")

    async def test_leaves_the_artifact(self, client: httpx.AsyncClient, project_id: str) -> None:
        location = (await begin(client, project_id)).headers["location"]
        artifact = (await append(client, location, 0, MAIN_DART, complete=True)).json()

        await client.delete(location)

        content = await client.get(f"/api/v1/projects/{project_id}/artifacts/{artifact['artifactId']}/content")
        assert content.content == MAIN_DART

    async def test_of_another_project_is_unknown(self, client: httpx.AsyncClient, project_id: str) -> None:
        location = (await begin(client, project_id)).headers["location"]
        elsewhere = location.replace(project_id, await a_project(client, "another"))

        assert is_problem(await client.get(elsewhere), 404, "upload_not_found")
        assert is_problem(await client.delete(elsewhere), 404, "upload_not_found")


class TestAnotherTenant:
    async def test_can_do_nothing_with_an_upload(
        self, world: World, client: httpx.AsyncClient, project_id: str
    ) -> None:
        location = (await begin(client, project_id, MAIN_DART)).headers["location"]

        async with world.client(await world.stranger_key()) as stranger:
            answers = [
                await stranger.get(location),
                await append(stranger, location, len(MAIN_DART), b"x"),
                await stranger.delete(location),
            ]

        assert all(is_problem(answer, 404, "upload_not_found") for answer in answers)
        assert await offset_of(client, location) == len(MAIN_DART)


class TestInterrupted:
    async def test_what_arrived_is_kept_and_gone_on_from(
        self, world: World, project_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """*Method:* a client over a real connection sends some pieces of what it announced, and is gone."""
        monkeypatch.setattr(resumable_uploads, "PIECE_BYTES", 1_000)
        async with served(world) as client:
            location = (await begin(client, project_id)).headers["location"]
            await _broken_off(client, location, LONG[:2_500], announced=len(LONG))
            async with asyncio.timeout(60):
                while (offset := await offset_of(client, location)) < 2_500:
                    await asyncio.sleep(0.02)

            last = await append(client, location, offset, LONG[offset:], complete=True)

        assert last.json()["digest"] == "sha256:" + hashlib.sha256(LONG).hexdigest()

    async def test_whoever_hangs_is_shut_out_once_the_offset_is_told(
        self, client: httpx.AsyncClient, project_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(resumable_uploads, "PIECE_BYTES", 4)
        location = (await begin(client, project_id)).headers["location"]
        told, go_on = asyncio.Event(), asyncio.Event()

        async def hanging() -> AsyncIterator[bytes]:
            yield b"void"
            told.set()
            await go_on.wait()
            yield b" mine() {}"

        late = asyncio.create_task(append(client, location, 0, hanging()))
        await told.wait()
        offset = await offset_of(client, location)
        go_on.set()

        assert is_problem(await late, 409, "upload_overtaken")
        done = await append(client, location, offset, MAIN_DART[offset:], complete=True)
        assert done.json()["digest"] == "sha256:" + hashlib.sha256(MAIN_DART).hexdigest()

    async def test_goes_on_in_another_process(
        self, postgres_world: World, postgres_client: httpx.AsyncClient, database_url: str, tmp_path: Path
    ) -> None:
        project_id = await a_project(postgres_client)
        location = (await begin(postgres_client, project_id, LONG[:3_000])).headers["location"]

        (tmp_path / "another").mkdir()
        for name in ("owner.key", "operator.key"):
            (tmp_path / "another" / name).write_text((postgres_world.data_dir / name).read_text())
        async with world_on_postgres(database_url, tmp_path / "another") as another, another.client() as client:
            last = await append(client, location, await offset_of(client, location), LONG[3_000:], complete=True)

        assert last.status_code == 201, last.text
        assert (await postgres_client.get(location)).json()["complete"]

    async def test_finishing_that_broke_off_anywhere_comes_to_the_same(
        self, world: World, client: httpx.AsyncClient, project_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """*Method:* the process is gone at the last step: the artifact is recorded, and the upload does not know it."""
        location = (await begin(client, project_id)).headers["location"]
        key = {"Idempotency-Key": str(uuid4())}
        uploads: Any = world.services.uploads
        complete = uploads.complete

        async def die(*_: Any) -> None:
            raise OSError

        uploads.complete = die
        broken = await append(client, location, 0, MAIN_DART, complete=True, headers=key)
        uploads.complete = complete
        repeated = await append(client, location, 0, MAIN_DART, complete=True, headers=key)
        resumed = await append(client, location, await offset_of(client, location), b"", complete=True)

        assert broken.status_code == 503
        assert (repeated.status_code, resumed.status_code) == (201, 200)
        assert repeated.json() == resumed.json()
        assert len((await ask(client, "GET", f"/projects/{project_id}/artifacts"))["items"]) == 1


async def _broken_off(client: httpx.AsyncClient, location: str, sent: bytes, *, announced: int) -> None:
    url = httpx.URL(client.base_url)
    _, writer = await asyncio.open_connection(url.host, url.port)
    head = (
        f"PATCH {location} HTTP/1.1\r\nHost: here\r\nAuthorization: {client.headers['authorization']}\r\n"
        f"Content-Type: {PARTIAL}\r\nUpload-Offset: 0\r\nUpload-Complete: ?1\r\nContent-Length: {announced}\r\n\r\n"
    )
    writer.write(head.encode() + sent)
    await writer.drain()
    await asyncio.sleep(0.2)
    writer.transport.abort()
