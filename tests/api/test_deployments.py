"""Deployments over HTTP, up to where the runner takes over."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from api.first_start import TENANT_ID
from commands.command import Command
from commands.execute import Context, execute
from commands.ids import new_id
from commands.integration import DisconnectProvider
from commands.progress import (
    ClaimDeployment,
    RecordActivated,
    RecordBuildStarted,
    RecordBuildSucceeded,
    RecordBundled,
    RecordPushed,
    RecordReleaseApplied,
    RecordReleaseStarted,
    RecordReleaseVerified,
)
from eventstore.meta import Actor
from tests.api.runs import succeeded
from tests.api.steps import a_function, a_project, ask, connected, fields_of, is_problem, the_files, upload
from tests.api.world import World

SHAPE = {
    "deploymentId",
    "functionId",
    "projectId",
    "provider",
    "target",
    "status",
    "active",
    "release",
    "url",
    "warnings",
    "failure",
    "queuedAt",
    "startedAt",
    "finishedAt",
    "reason",
    "canRollback",
}


CLOUD_RUN = {
    "projectId": "acme-prod",
    "region": "europe-west1",
    "artifactRepository": "functions",
    "runtimeTarget": "cloud_run",
    "serviceName": "hello",
}
NOBODYS = "0195d3a4-5b6c-7d8e-9f00-112233445566"


class Ready:
    """A project, connected, with a function and its files."""

    def __init__(self, client: httpx.AsyncClient, project_id: str, function_id: str, files: dict[str, str]) -> None:
        self.client, self.project_id, self.function_id, self.files = client, project_id, function_id, files
        self.path = f"/projects/{project_id}/deployments"

    def request(self, **changes: object) -> dict[str, object]:
        asked = {"functionId": self.function_id, "provider": "local", "artifactFiles": self.files, "target": {}}
        return {**asked, **changes}

    async def deploy(self, **changes: object) -> Any:
        return await ask(self.client, "POST", self.path, self.request(**changes), status=202)


@pytest.fixture
async def ready(client: httpx.AsyncClient) -> Ready:
    project_id = await a_project(client)
    await connected(client, project_id)
    return Ready(client, project_id, await a_function(client, project_id), await the_files(client, project_id))


class TestCreateDeployment:
    async def test_answers_202_with_the_deployment_as_get_shows_it(self, ready: Ready) -> None:
        answer = await ready.client.post(f"/api/v1{ready.path}", json=ready.request(reason="first"))

        body = answer.json()
        assert answer.status_code == 202, answer.text
        assert set(body) >= SHAPE
        assert (body["status"], body["active"], body["reason"]) == ("queued", False, "first")
        assert body["canRollback"]["allowed"] is False
        assert {source["digest"][:7] for source in body["release"]["sources"]} == {"sha256:"}
        got = await ready.client.get(answer.headers["location"])
        assert got.json() == body
        assert got.headers["etag"] == answer.headers["etag"]

    async def test_one_key_is_one_deployment(self, ready: Ready) -> None:
        headers = {"Idempotency-Key": uuid4().hex}

        answers = await asyncio.gather(
            *(ready.client.post(f"/api/v1{ready.path}", json=ready.request(), headers=headers) for _ in range(20))
        )

        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["deploymentId"] for answer in answers}) == 1
        assert len((await ask(ready.client, "GET", ready.path))["items"]) == 1

    async def test_validate_only_shows_it_and_records_nothing(self, world: World, ready: Ready) -> None:
        before = await world.log.head()

        body = await ask(ready.client, "POST", ready.path, ready.request(validateOnly=True))

        assert set(body) >= SHAPE
        assert body["status"] == "queued"
        assert await world.log.head() == before
        assert (await ask(ready.client, "GET", ready.path))["items"] == []

    async def test_files_not_named_are_those_of_the_function_and_a_warning_says_so(self, ready: Ready) -> None:
        function_id = await a_function(ready.client, ready.project_id, name="own-files", artifactFiles=ready.files)

        body = await ready.deploy(functionId=function_id, artifactFiles={})

        assert [warning["code"] for warning in body["warnings"]] == ["artifact_files_defaulted"]

    @pytest.mark.parametrize(
        ("changes", "status", "code", "fields"),
        [
            pytest.param({"colour": 1}, 422, "body_invalid", ["colour"], id="an unknown field"),
            pytest.param({"functionId": 5}, 422, "body_invalid", ["functionId"], id="no id"),
            pytest.param({"functionId": NOBODYS}, 404, "function_not_found", ["functionId"], id="an unknown function"),
            pytest.param({"provider": "heroku"}, 422, "body_invalid", ["provider"], id="an unknown provider"),
            pytest.param(
                {"provider": "gcp", "target": CLOUD_RUN},
                422,
                "provider_not_offered",
                ["provider"],
                id="one not offered",
            ),
            pytest.param({"provider": "aws"}, 422, "body_invalid", ["target.region"], id="the target of another"),
            pytest.param(
                {"provider": "gcp", "target": {**CLOUD_RUN, "runtimeTarget": "vm"}},
                422,
                "body_invalid",
                ["target.runtimeTarget"],
                id="an unknown runtime target",
            ),
            pytest.param(
                {"provider": "gcp", "target": {**CLOUD_RUN, "serviceName": "No!"}},
                422,
                "body_invalid",
                ["target.serviceName"],
                id="a name the cloud would refuse",
            ),
            pytest.param({"target": {"region": "x"}}, 422, "body_invalid", ["target.region"], id="a wrong target"),
            pytest.param({"target": []}, 422, "body_invalid", ["target"], id="a target that is a list"),
            pytest.param({"artifactFiles": {}}, 422, "artifact_missing", ["artifactFiles.code_file"], id="no files"),
            pytest.param(
                {"artifactFiles": {"code_file": "nowhere"}},
                404,
                "artifact_not_found",
                ["artifactFiles.code_file"],
                id="an unknown file",
            ),
            pytest.param({"validateOnly": "yes"}, 422, "body_invalid", ["validateOnly"], id="no boolean"),
        ],
    )
    async def test_refuses_by_field(
        self, ready: Ready, changes: dict[str, object], status: int, code: str, fields: list[str]
    ) -> None:
        answer = await ready.client.post(f"/api/v1{ready.path}", json=ready.request(**changes))

        assert is_problem(answer, status, code)
        assert fields_of(answer) == fields

    async def test_refuses_a_pubspec_that_forbids_the_runtime(self, ready: Ready) -> None:
        pubspec = b"name: hello\nenvironment:\n  sdk: '>=2.0.0 <2.1.0'\n"
        path = (await upload(ready.client, "yaml", ready.project_id, pubspec)).json()["path"]

        answer = await ready.client.post(
            f"/api/v1{ready.path}", json=ready.request(artifactFiles={**ready.files, "yaml_file": path})
        )

        assert is_problem(answer, 422, "sdk_constraint_not_met")

    async def test_refuses_a_file_of_another_kind(self, ready: Ready) -> None:
        files = {**ready.files, "code_file": ready.files["docker_file"]}

        answer = await ready.client.post(f"/api/v1{ready.path}", json=ready.request(artifactFiles=files))

        assert is_problem(answer, 422, "artifact_of_another_kind")

    async def test_refuses_what_is_not_connected(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        function_id = await a_function(client, project_id, artifactFiles=await the_files(client, project_id))
        body = {"functionId": function_id, "provider": "local", "target": {}}

        answer = await client.post(f"/api/v1/projects/{project_id}/deployments", json=body)

        assert is_problem(answer, 409, "provider_not_connected")


class TestListDeployments:
    async def test_filters(self, ready: Ready) -> None:
        deployment = await ready.deploy()
        function_id, other = ready.function_id, str(uuid4())

        for query, count in (
            ("", 1),
            (f"functionId={function_id}", 1),
            (f"functionId={other}", 0),
            ("status=queued", 1),
            ("status=succeeded", 0),
            ("provider=local", 1),
            (f"functionId={function_id}&status=queued&provider=local&limit=1", 1),
            (f"queuedFrom={deployment['queuedAt']}", 1),
            (f"queuedBefore={deployment['queuedAt']}", 0),
        ):
            assert len((await ask(ready.client, "GET", f"{ready.path}?{query}"))["items"]) == count, query

    @pytest.mark.parametrize(
        "query",
        [
            "status=lost",
            "functionId=x",
            "provider=heroku",
            "queuedFrom=yesterday",
            "queuedFrom=2026-03-01T12:00:00",
            "queuedFrom=1772366400",
            "queuedFrom=0001-01-01T00:00:00%2B14:00",
            "queuedBefore=9999-12-31T23:59:59-14:00",
        ],
    )
    async def test_refuses_filters_it_does_not_know(self, ready: Ready, query: str) -> None:
        assert is_problem(await ready.client.get(f"/api/v1{ready.path}?{query}"), 422, "parameter_invalid")


class TestDeploymentEvents:
    async def test_tells_the_story_oldest_first_with_who_and_why(self, ready: Ready) -> None:
        deployment = await ready.deploy()
        path = f"{ready.path}/{deployment['deploymentId']}"
        await ask(ready.client, "POST", f"{path}/cancel", {"reason": "wrong one"}, status=202)

        body = await ask(ready.client, "GET", f"{path}/events")

        assert [event["type"] for event in body["items"]] == [
            "deployment.queued",
            "deployment.cancel_requested",
            "deployment.canceled",
        ]
        for event in body["items"]:
            assert set(event) == {
                "position",
                "type",
                "at",
                "actor",
                "message",
                "data",
                "correlationId",
                "causationId",
            }
            assert event["actor"]["type"] == "key"
        after = await ask(ready.client, "GET", f"{path}/events?cursor={body['items'][0]['position']}")
        assert after["items"] == body["items"][1:]

    async def test_is_404_for_another_tenants(self, world: World, ready: Ready) -> None:
        deployment = await ready.deploy()
        async with world.client(await world.stranger_key()) as stranger:
            for path in ("", "/events"):
                answer = await stranger.get(f"/api/v1{ready.path}/{deployment['deploymentId']}{path}")
                assert is_problem(answer, 404, "deployment_not_found")
            for verb in ("cancel", "undeploy"):
                answer = await stranger.post(f"/api/v1{ready.path}/{deployment['deploymentId']}/{verb}", json={})
                assert is_problem(answer, 404, "deployment_not_found")


class TestCancelDeployment:
    async def test_a_queued_one_is_canceled_at_once(self, ready: Ready) -> None:
        deployment = await ready.deploy()
        path = f"{ready.path}/{deployment['deploymentId']}"

        body = await ask(ready.client, "POST", f"{path}/cancel", {}, status=202)

        assert body["status"] == "canceled"
        assert await ask(ready.client, "GET", path) == body
        assert is_problem(await ready.client.post(f"/api/v1{path}/cancel", json={}), 409, "deployment_is_over")

    async def test_one_under_way_is_only_asked_to(self, world: World, ready: Ready) -> None:
        deployment = await ready.deploy()
        claim = ClaimDeployment(
            tenant_id=TENANT_ID,
            at=world.services.clock(),
            deployment_id=UUID(deployment["deploymentId"]),
            function_id=UUID(ready.function_id),
            epoch=1,
            runner_id="a runner",
        )
        context = Context(actor=Actor("runner", "a runner"), command_id=new_id(), correlation_id=new_id())
        await execute(world.log, claim, context)
        path = f"{ready.path}/{deployment['deploymentId']}"

        body = await ask(ready.client, "POST", f"{path}/cancel", status=202)

        assert (body["status"], body["cancelRequested"]) == ("running", True)
        assert await ask(ready.client, "GET", path) == body


class TestUndeploy:
    async def test_refuses_one_that_is_not_active(self, ready: Ready) -> None:
        deployment = await ready.deploy()
        path = f"/api/v1{ready.path}/{deployment['deploymentId']}/undeploy"

        assert is_problem(await ready.client.post(path, json={}), 409, "deployment_not_active")
        assert is_problem(await ready.client.post(path, json={"why": "x"}), 422, "body_invalid")
        gone = f"/api/v1{ready.path}/{uuid4()}/undeploy"
        assert is_problem(await ready.client.post(gone, json={}), 404, "deployment_not_found")

    async def test_takes_the_present_version_only(self, world: World, ready: Ready) -> None:
        """Goal: the ETag of an active deployment can be used, although its row is touched by the function's events."""
        deployment = await ready.deploy()
        deployment_id = UUID(deployment["deploymentId"])
        for command in _succeeding(world, deployment_id, UUID(ready.function_id)):
            context = Context(actor=Actor("runner", "a runner"), command_id=new_id(), correlation_id=new_id())
            await execute(world.log, command, context)
        path = f"{ready.path}/{deployment_id}"
        tag = (await ready.client.get(f"/api/v1{path}")).headers["etag"]
        undeploy = f"/api/v1{path}/undeploy"

        for stale in ('"1"', '"99999999"', "nonsense"):
            answer = await ready.client.post(undeploy, json={}, headers={"If-Match": stale})
            assert is_problem(answer, 412, "precondition_failed")
        headers = {"If-Match": tag, "Idempotency-Key": "undeploy-1"}
        first, again = [await ready.client.post(undeploy, json={}, headers=headers) for _ in range(2)]

        assert (first.status_code, first.json()["status"], first.json()["active"]) == (202, "undeploy_queued", True)
        assert again.content == first.content
        assert await ask(ready.client, "GET", path) == first.json()


def _succeeding(world: World, deployment_id: UUID, function_id: UUID) -> list[Command]:
    """What a runner reports of a deployment that goes well."""
    common: dict[str, Any] = {
        "tenant_id": TENANT_ID,
        "at": world.services.clock(),
        "deployment_id": deployment_id,
        "function_id": function_id,
        "epoch": 1,
    }
    return [
        ClaimDeployment(**common, runner_id="a runner"),
        RecordBundled(**common, location="here", digest="sha256:0"),
        RecordBuildStarted(**common, build_id="build"),
        RecordBuildSucceeded(**common, build_id="build"),
        RecordPushed(**common, reference="image", digest="sha256:0"),
        RecordReleaseStarted(**common),
        RecordReleaseApplied(**common, url="http://functions.test/", revision="1"),
        RecordReleaseVerified(**common),
        RecordActivated(**common),
    ]


async def disconnect(world: World, project_id: str) -> None:
    command = DisconnectProvider(
        tenant_id=TENANT_ID, at=world.services.clock(), project_id=UUID(project_id), provider="local"
    )
    context = Context(actor=Actor("operator"), command_id=new_id(), correlation_id=new_id())
    done = await execute(world.log, command, context)
    await world.services.reader.wait_for(done.last_position, seconds_max=10)


class TestTheQueue:
    async def test_tells_each_its_place_and_moves_up_when_one_leaves(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        await connected(client, project_id)
        files = await the_files(client, project_id)
        path = f"/projects/{project_id}/deployments"
        functions = [await a_function(client, project_id, name=name, artifactFiles=files) for name in "abc"]
        asked = [{"functionId": function_id, "provider": "local", "target": {}} for function_id in functions]
        queued = [await ask(client, "POST", path, one, status=202) for one in asked]

        got = [await ask(client, "GET", f"{path}/{one['deploymentId']}") for one in queued]
        again = await ask(client, "POST", path, asked[2], status=202)
        await ask(client, "POST", f"{path}/{queued[0]['deploymentId']}/cancel", {}, status=202)
        last = await ask(client, "GET", f"{path}/{again['deploymentId']}")
        left = await ask(client, "GET", f"{path}/{queued[0]['deploymentId']}")

        assert [one["queuePosition"] for one in queued] == [one["queuePosition"] for one in got] == [1, 2, 3]
        assert again["queuePosition"] == 3, "it overtakes the third, which waits no longer"
        assert (last["queuePosition"], left["queuePosition"]) == (2, None)


class TestCanRollback:
    async def test_says_what_rolling_back_would_be_answered(self, world: World, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        await connected(client, project_id)
        function_id = await a_function(client, project_id, artifactFiles=await the_files(client, project_id))
        asked = {"functionId": function_id, "provider": "local", "target": {}}
        path = f"/projects/{project_id}/deployments"
        first = await ask(client, "POST", path, asked, status=202)
        await succeeded(world, first)
        await succeeded(world, await ask(client, "POST", path, asked, status=202))

        kept = await ask(client, "GET", f"{path}/{first['deploymentId']}")
        await disconnect(world, project_id)
        cut_off = await ask(client, "GET", f"{path}/{first['deploymentId']}")
        refused = await client.post(f"/api/v1{path}/{first['deploymentId']}/rollback", json={})

        assert kept["canRollback"]["allowed"]
        assert not cut_off["canRollback"]["allowed"]
        assert is_problem(refused, 409, cut_off["canRollback"]["code"])
        assert refused.json()["detail"] == cut_off["canRollback"]["because"]
