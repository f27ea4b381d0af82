"""What is looked at before a deployment is queued: the files themselves."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.api.steps import a_function, a_project, connected, fields_of, is_problem, the_files, upload


@pytest.fixture
async def project_id(client: httpx.AsyncClient) -> str:
    project_id = await a_project(client)
    await connected(client, project_id)
    return project_id


async def deployed(client: httpx.AsyncClient, project_id: str, kind: str, content: bytes) -> httpx.Response:
    """The answer to a deployment whose file of one kind has other content."""
    files: dict[str, Any] = await the_files(client, project_id)
    files[f"{kind}_file"] = (await upload(client, kind, project_id, content)).json()["path"]
    asked = {"functionId": await a_function(client, project_id), "provider": "local", "artifactFiles": files}
    return await client.post(f"/api/v1/projects/{project_id}/deployments", json={**asked, "target": {}})


class TestChecks:
    async def test_code_without_a_main_is_refused(self, client: httpx.AsyncClient, project_id: str) -> None:
        answer = await deployed(client, project_id, "code", b"// void main() {}\nvoid run() {}\n")

        assert is_problem(answer, 422, "main_missing")
        assert fields_of(answer) == ["artifactFiles.code_file"]

    async def test_a_pubspec_without_an_sdk_is_refused(self, client: httpx.AsyncClient, project_id: str) -> None:
        answer = await deployed(client, project_id, "yaml", b"name: hello\n")

        assert is_problem(answer, 422, "sdk_constraint_missing")
        assert "sdk: ^3.11.0" in answer.json()["remedy"]

    async def test_a_dockerfile_is_reviewed(self, client: httpx.AsyncClient, project_id: str) -> None:
        answer = await deployed(client, project_id, "docker", b"FROM debian\nCMD ./server\n")

        assert answer.status_code == 202
        assert [warning["code"] for warning in answer.json()["warnings"]] == [
            "docker_base_unpinned",
            "docker_runs_as_root",
            "docker_shell_form",
        ]

    async def test_a_dockerfile_that_could_not_be_built_is_not_taken(
        self, client: httpx.AsyncClient, project_id: str
    ) -> None:
        answer = await upload(client, "docker", project_id, b"RUN nothing\n")

        assert is_problem(answer, 422, "dockerfile_not_understood")
