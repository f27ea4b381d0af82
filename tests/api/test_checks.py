"""What is looked at before a deployment is queued: one thing after another, and the files themselves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from api.first_start import TENANT_ID
from providers.simulated.provider import SimulatedProvider
from tests.api.steps import a_function, a_project, ask, connected, fields_of, is_problem, the_files, upload
from tests.api.world import World


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


AZURE_TARGET = {
    "subscriptionId": "0192d3a4-5b6c-7d8e-9f00-000000000013",
    "resourceGroup": "functions",
    "region": "westeurope",
    "registry": "acmefunctions",
    "environmentName": "functions",
    "appName": "hello",
}
GKE = {
    "projectId": "acme-prod",
    "region": "europe-west1",
    "artifactRepository": "functions",
    "runtimeTarget": "gke",
    "namespace": "default",
    "deploymentName": "hello",
    "containerName": "hello",
}
NOBODYS = "0195d3a4-5b6c-7d8e-9f00-112233445566"


class Asking:
    """A request that would be queued, to be spoilt in one way."""

    def __init__(self, world: World, client: httpx.AsyncClient, project_id: str, body: dict[str, Any]) -> None:
        self.world, self.client, self.project_id, self.body = world, client, project_id, body

    async def answer(self, **more: object) -> httpx.Response:
        path = f"/api/v1/projects/{self.project_id}/deployments"
        return await self.client.post(path, json={**self.body, **more})

    async def project_of_another(self) -> None:
        async with self.world.client(await self.world.stranger_key()) as stranger:
            self.project_id = await a_project(stranger)
        self.body["artifactFiles"] = {}  # Their paths name the project they belong to.

    async def project_archived(self) -> None:
        await ask(self.client, "POST", f"/projects/{self.project_id}/archive", {})

    async def function_of_another(self) -> None:
        async with self.world.client(await self.world.stranger_key()) as stranger:
            self.body["functionId"] = await a_function(stranger, await a_project(stranger))

    async def function_of_another_project(self) -> None:
        self.body["functionId"] = await a_function(self.client, await a_project(self.client, "store"))

    async def function_archived(self) -> None:
        path = f"/projects/{self.project_id}/functions/{self.body['functionId']}/archive"
        await ask(self.client, "POST", path, {})

    async def runtime_ended(self) -> None:
        async with self.world.client(self.world.operator_key) as operator:
            ends = {"blockNewDeploysAfter": (self.world.services.clock() - timedelta(seconds=1)).isoformat()}
            await ask(operator, "PATCH", "/operations/runtimes/3.11.0", ends)

    async def sdk_of_another_runtime(self) -> None:
        await self._file("yaml", b"name: hello\nenvironment: {sdk: '>=3.10.0 <3.11.0'}\n")

    async def sdk_of_no_runtime(self) -> None:
        await self._file("yaml", b"name: hello\nenvironment: {sdk: '>=2.10.0 <2.12.0'}\n")

    async def sdk_missing(self) -> None:
        await self._file("yaml", b"name: hello\n")

    async def main_missing(self) -> None:
        await self._file("code", b"void run() {}\n")

    async def file_unknown(self) -> None:
        self.body["artifactFiles"] = {**self.body["artifactFiles"], "code_file": NOBODYS}

    async def file_of_another(self) -> None:
        async with self.world.client(await self.world.stranger_key()) as stranger:
            other = (await upload(stranger, "code", await a_project(stranger))).json()["artifactId"]
        self.body["artifactFiles"] = {**self.body["artifactFiles"], "code_file": other}

    async def file_of_another_project(self) -> None:
        other = (await upload(self.client, "code", await a_project(self.client, "store"))).json()["artifactId"]
        self.body["artifactFiles"] = {**self.body["artifactFiles"], "code_file": other}

    async def file_of_another_kind(self) -> None:
        files = self.body["artifactFiles"]
        self.body["artifactFiles"] = {**files, "yaml_file": files["code_file"]}

    async def file_missing(self) -> None:
        self.body["artifactFiles"] = {}

    async def provider_not_offered(self) -> None:
        self.body |= {"provider": "azure", "target": AZURE_TARGET}

    async def provider_disconnected(self) -> None:
        await ask(self.client, "POST", f"/projects/{self.project_id}/integrations/local/disconnect", {})

    async def identity_connected_only(self) -> None:
        await self._in_a_project_that_did()

    async def storage_checked_only(self) -> None:
        await self._in_a_project_that_did("verify", "bucket/check")

    async def trigger_unavailable(self) -> None:
        trigger = {"type": "event", "settings": {"source": "orders"}}
        self.body["functionId"] = await a_function(self.client, self.project_id, name="events", trigger=trigger)

    async def target_not_entitled(self) -> None:
        await self._on_plan("sandbox")
        self._to_kubernetes()

    async def queue_full(self) -> None:
        async with self.world.client(self.world.operator_key) as operator:
            limits = {"projects": 9, "functionsPerProject": 9, "members": 9, "concurrentDeployments": 1}
            await ask(operator, "PUT", "/operations/plans/tight", {"limits": {**limits, "queuedDeployments": 1}})
        await self._on_plan("tight")
        assert (await self.answer(reason="first")).status_code == 202
        other = await a_function(self.client, self.project_id, name="other")
        self.body["functionId"] = other

    async def _file(self, kind: str, content: bytes) -> None:
        path = (await upload(self.client, kind, self.project_id, content)).json()["path"]
        self.body["artifactFiles"] = {**self.body["artifactFiles"], f"{kind}_file": path}

    async def _in_a_project_that_did(self, *steps: str) -> None:
        self.project_id = await a_project(self.client, "store")
        files = await the_files(self.client, self.project_id)
        function_id = await a_function(self.client, self.project_id)
        self.body |= {"functionId": function_id, "artifactFiles": files}
        local = f"/projects/{self.project_id}/integrations/local"
        await ask(self.client, "POST", f"{local}/connect", {}, status=201)
        for step in steps:
            await ask(self.client, "POST", f"{local}/{step}", {})

    async def _on_plan(self, plan: str) -> None:
        async with self.world.client(self.world.operator_key) as operator:
            await ask(operator, "PUT", f"/operations/tenants/{TENANT_ID}/plan", {"plan": plan})

    def _to_kubernetes(self) -> None:
        self.world.services.providers["gcp"] = SimulatedProvider(1, clock=lambda: 0.0)  # type: ignore[index] # its own dictionary
        self.body |= {"provider": "gcp", "target": GKE}


# What is looked at: how a request is spoilt, and what is answered then.
REFUSED: tuple[tuple[str, int, str, str, str], ...] = (
    ("project_of_another", 404, "project_not_found", "projectId", ""),
    ("project_archived", 409, "project_archived", "", ""),
    ("function_of_another", 404, "function_not_found", "functionId", ""),
    ("function_of_another_project", 404, "function_not_found", "functionId", ""),
    ("function_archived", 409, "function_archived", "", ""),
    ("runtime_ended", 409, "runtime_not_deployable", "", "Move the function to a supported runtime"),
    ("sdk_of_another_runtime", 422, "sdk_constraint_not_met", "artifactFiles.yaml_file", "Choose runtime 3.10.0"),
    ("sdk_of_no_runtime", 422, "sdk_constraint_not_met", "artifactFiles.yaml_file", "Deployable are: 3.11.0, 3.10.0"),
    ("sdk_missing", 422, "sdk_constraint_missing", "artifactFiles.yaml_file", "sdk: ^3.11.0"),
    ("main_missing", 422, "main_missing", "artifactFiles.code_file", "void main()"),
    ("file_unknown", 404, "artifact_not_found", "artifactFiles.code_file", ""),
    ("file_of_another", 404, "artifact_not_found", "artifactFiles.code_file", ""),
    ("file_of_another_project", 404, "artifact_not_found", "artifactFiles.code_file", ""),
    ("file_of_another_kind", 422, "artifact_of_another_kind", "artifactFiles.yaml_file", ""),
    ("file_missing", 422, "artifact_missing", "artifactFiles.code_file", "Upload the file"),
    ("provider_not_offered", 422, "provider_not_offered", "provider", "Choose a provider"),
    ("provider_disconnected", 409, "provider_not_connected", "provider", "Connect the provider"),
    ("identity_connected_only", 409, "identity_not_verified", "provider", "Verify it: POST"),
    ("storage_checked_only", 409, "storage_not_configured", "provider", "bucket/config"),
    ("trigger_unavailable", 422, "trigger_unavailable", "trigger.type", "trigger-types"),
    ("target_not_entitled", 403, "runtime_target_not_entitled", "target.runtimeTarget", "cloud_run"),
    ("queue_full", 429, "deployment_queue_full", "", "Wait until"),
)


class TestBeforeItIsQueued:
    @pytest.fixture
    async def asking(self, world: World, client: httpx.AsyncClient, project_id: str) -> Asking:
        files = await the_files(client, project_id)
        function_id = await a_function(client, project_id)
        body = {"functionId": function_id, "provider": "local", "target": {}, "artifactFiles": files}
        return Asking(world, client, project_id, body)

    @pytest.mark.parametrize(("spoilt", "status", "code", "field", "remedy"), REFUSED, ids=[row[0] for row in REFUSED])
    async def test_each_has_its_own_code_and_remedy(
        self, asking: Asking, spoilt: str, status: int, code: str, field: str, remedy: str
    ) -> None:
        await getattr(asking, spoilt)()

        looked, asked = await asking.answer(validateOnly=True), await asking.answer()

        assert is_problem(asked, status, code)
        assert fields_of(asked) == ([field] if field else [])
        assert asked.json()["remedy"]
        assert remedy in asked.json()["remedy"]
        assert ("retry-after" in asked.headers) == (status == 429)
        if status != 429:  # Whether there is room is not known before it is taken.
            assert looked.json() | {"correlationId": ""} == asked.json() | {"correlationId": ""}

    async def test_what_is_right_is_queued(self, asking: Asking) -> None:
        assert (await asking.answer(validateOnly=True)).status_code == 200
        assert (await asking.answer()).status_code == 202
