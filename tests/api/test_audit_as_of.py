"""Reads as of a time or a position, over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from api.first_start import OWNER_ID
from tests.api.contract import operations, resolved
from tests.api.steps import a_function, a_project, ask, connected, is_problem, the_files, upload
from tests.api.world import World


async def _everything(client: httpx.AsyncClient, project_id: str, paths: list[str], as_of: str = "") -> list[Any]:
    suffix = {"asOf": as_of} if as_of else {}
    answers = [await client.get(f"/api/v1{path}", params=suffix) for path in paths]
    return [(_lasting(answer.json()), _version(answer)) for answer in answers]


def _version(answer: httpx.Response) -> str:
    """What stands for a version in the log; what has none is known by its bytes."""
    tag = answer.headers.get("etag", "")
    return "" if tag.startswith('"b-') else tag


def _lasting(body: Any) -> Any:
    """The body, or the code of a refusal, without what the log does not say: a place in the queue, the use of a key or of a limit."""
    match body:
        case {"code": str(code)}:
            return code
        case dict():
            return {
                n: _lasting(value) for n, value in body.items() if n not in ("queuePosition", "lastUsedAt", "limits")
            }
        case list():
            return [_lasting(item) for item in body]
        case _:
            return body


async def _positions(world: World) -> str:
    return await world.services.tokens.of(await world.log.head())


async def _is_what_it_was(world: World) -> None:
    """Goal: the same bodies and ETags as then. Method: ask at each stage, go on, then ask for each stage again, by its
    position and by its time."""
    async with world.client() as client:
        project_id = await a_project(client)
        local = f"/projects/{project_id}"
        key = await ask(client, "POST", "/keys", {"name": "ci", "role": "viewer"}, status=201)
        own = ["/tenant", "/tenant/members", f"/tenant/members/{OWNER_ID}", "/keys", f"/keys/{key['keyId']}"]
        paths = [*own, local, "/projects", "/runtimes", f"{local}/functions"]
        paths += [f"{local}/integrations", f"{local}/integrations/local", f"{local}/deployments"]
        stages: list[tuple[str, str, list[Any]]] = []

        async def keep() -> None:
            at = world.services.clock().isoformat().replace("+00:00", "Z")
            stages.append((await _positions(world), at, await _everything(client, project_id, paths)))

        await keep()
        await connected(client, project_id)
        await keep()
        artifact = (await upload(client, "code", project_id)).json()
        function_id = await a_function(client, project_id, artifactFiles=await the_files(client, project_id))
        paths += [f"{local}/functions/{function_id}", f"{local}/artifacts"]
        paths += [f"{local}/artifacts/{artifact[name]}" for name in ("artifactId", "digest")]
        await ask(client, "DELETE", f"/keys/{key['keyId']}")
        await keep()
        asked = {"functionId": function_id, "provider": "local", "target": {}}
        queued = await ask(client, "POST", f"{local}/deployments", asked, status=202)
        paths += [f"{local}/deployments/{queued['deploymentId']}", f"{local}/deployments?status=queued"]
        await keep()
        await ask(client, "PATCH", f"{local}/functions/{function_id}", {"description": "changed"})
        await ask(client, "POST", f"{local}/deployments/{queued['deploymentId']}/cancel", {}, status=202)
        await keep()

        for position, at, shown in stages:
            asked_for = paths[: len(shown)]
            assert await _everything(client, project_id, asked_for, position) == shown
            assert await _everything(client, project_id, asked_for, at) == shown


# What can be read and has no past to be asked for, and why not.
_OF_NOW_ALONE = {
    "it tells of the log, or between moments of it": {
        *("/audit/events", "/audit/events/{position}/proof", "/audit/history/{entityId}", "/audit/diff/{entityId}"),
        *("/audit/causes/{correlationId}", "/audit/export", "/audit/checkpoint", "/audit/checkpoints"),
        *("/audit/consistency", "/audit/tile/{level}/{tile}", "/audit/verifier-keys"),
        *("/projects/{projectId}/events", "/projects/{projectId}/deployments/{deploymentId}/events"),
        "/projects/{projectId}/functions/{functionId}/revisions",
        "/projects/{projectId}/functions/{functionId}/diff",
        "/projects/{projectId}/deployments/{deploymentId}/diff",
    },
    "what has it is the project, the function": {
        "/projects/{projectId}/deploy-lock",
        "/projects/{projectId}/functions/{functionId}/secrets",
    },
    "the log does not say it": {
        "/projects/{projectId}/artifacts/{artifact}/content",
        "/projects/{projectId}/deployments/{deploymentId}/logs",
        "/projects/{projectId}/functions/{functionId}/ticks",
        "/projects/{projectId}/uploads/{uploadId}",
        "/projects/{projectId}/webhooks/{webhookId}/deliveries",
    },
    "it is about who asks, about this release, or about running it": {
        *("/me", "/docs", "/openapi.json", "/sign-in/issuers", "/functions/trigger-types"),
        *("/operations/master-key", "/operations/projections", "/operations/projections/jobs/{jobId}"),
        *("/operations/projections/{name}", "/operations/projections/{name}/parked", "/operations/queue"),
        *("/operations/runtimes/{version}/deployments", "/operations/runtimes/{version}/functions"),
        *("/operations/runtimes/{version}/impact", "/operations/usage"),
        "/projects/{projectId}/integrations/aws/oidc/setup-commands",
        *("/azure/templates/{tenantId}/{projectId}", "/azure/templates/{tenantId}/{projectId}/resources"),
    },
}


class TestEveryRead:
    def test_takes_a_moment_or_is_named_with_the_reason(self) -> None:
        without = {
            path.removeprefix("/api/v1")
            for method, path, said in operations()
            if method == "GET" and path.startswith("/api/v1")
            if "asOf" not in {resolved(parameter)["name"] for parameter in said.get("parameters", ())}
        }

        assert without == set().union(*_OF_NOW_ALONE.values())


class TestAsOf:
    async def test_every_entity_and_list_is_what_it_was(self, world: World) -> None:
        await _is_what_it_was(world)

    async def test_so_it_is_on_postgres(self, postgres_world: World) -> None:
        await _is_what_it_was(postgres_world)

    async def test_what_was_not_there_yet_is_not_found(self, world: World, client: httpx.AsyncClient) -> None:
        before = await _positions(world)
        project_id = await a_project(client)

        answers = [
            await client.get(f"/api/v1/projects/{project_id}{path}", params={"asOf": before})
            for path in ("", "/functions", "/integrations", "/deployments")
        ]

        assert [answer.status_code for answer in answers] == [404] * 4

    async def test_an_offset_may_arrive_without_its_plus(self, world: World, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        at = world.services.clock().isoformat()
        assert at.endswith("+00:00")

        assert (await client.get(f"/api/v1/projects/{project_id}?asOf={at}")).status_code == 200

    @pytest.mark.parametrize(
        "given",
        [
            "yesterday",
            "2026-03-01T12:00:00",
            "1:999999999",
            "",
            "2026-02-30T00:00:00Z",
            "-1",
            "1.5",
            "0001-01-01T00:00:00+14:00",
        ],
    )
    async def test_refuses_what_is_no_moment_of_the_past(self, client: httpx.AsyncClient, given: str) -> None:
        answer = await client.get("/api/v1/projects", params={"asOf": given})

        assert is_problem(answer, 422, "parameter_invalid")

    async def test_refuses_a_time_that_has_not_come(self, world: World, client: httpx.AsyncClient) -> None:
        later = (world.services.clock() + timedelta(hours=1)).isoformat()

        assert is_problem(await client.get("/api/v1/projects", params={"asOf": later}), 422, "parameter_invalid")

    async def test_refuses_a_position_of_another_epoch(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/api/v1/projects", params={"asOf": "7:1"})

        assert is_problem(answer, 409, "position_of_another_epoch")

    async def test_another_tenant_finds_nothing_in_the_past_either(
        self, world: World, client: httpx.AsyncClient
    ) -> None:
        project_id = await a_project(client)
        position = await _positions(world)
        async with world.client(await world.stranger_key()) as stranger:
            answer = await stranger.get(f"/api/v1/projects/{project_id}", params={"asOf": position})

        assert answer.status_code == 404
