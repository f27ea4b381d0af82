"""The way of a client through the API on PostgreSQL, with the read models kept by their engine."""

from __future__ import annotations

import asyncio
import hashlib
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from api.first_start import TENANT_ID
from eventstore import waiting
from tests.api.steps import a_draft, a_function, a_project, ask, connected, is_problem, the_files, upload
from tests.api.world import MAIN_DART, World
from tests.support.kept import bytes_of


class TestOnPostgres:
    async def test_from_a_project_to_a_queued_deployment(
        self, postgres_world: World, postgres_client: httpx.AsyncClient
    ) -> None:
        client = postgres_client
        project_id = await a_project(client)
        await connected(client, project_id)
        files = await the_files(client, project_id)
        made = await client.post("/api/v1/functions", json=a_draft(project_id, artifactFiles=files))
        deployments = f"/projects/{project_id}/deployments"

        asked = {"functionId": made.json()["functionId"], "provider": "local", "target": {}, "artifactFiles": files}
        queued = await ask(client, "POST", deployments, asked, status=202)

        path = f"{deployments}/{queued['deploymentId']}"
        listed = {**queued, "queuePosition": None}  # A place is told only of the one that is asked about.
        assert await ask(client, "GET", path) == queued
        assert (await ask(client, "GET", f"{deployments}?status=queued"))["items"] == [listed]
        assert [e["type"] for e in (await ask(client, "GET", f"{path}/events"))["items"]] == ["deployment.queued"]
        function = await client.get(made.headers["location"])
        assert function.json() == made.json()
        tag = {"If-Match": function.headers["etag"]}
        changes = {"functionId": made.json()["functionId"], "description": "changed"}
        assert (await client.put("/api/v1/functions/update", json=changes, headers=tag)).status_code == 200
        assert is_problem(
            await client.put("/api/v1/functions/update", json={**changes, "description": "late"}, headers=tag),
            412,
            "precondition_failed",
        )

    async def test_another_tenant_sees_and_changes_nothing(
        self, postgres_world: World, postgres_client: httpx.AsyncClient
    ) -> None:
        project_id = await a_project(postgres_client)
        function_id = await a_function(postgres_client, project_id)
        await upload(postgres_client, "code", project_id)
        async with postgres_world.client(await postgres_world.stranger_key()) as stranger:
            answers = [
                await stranger.get(f"/api/v1/projects/{project_id}"),
                await stranger.get(f"/api/v1/projects/{project_id}/functions"),
                await stranger.get(f"/api/v1/projects/{project_id}/functions/{function_id}"),
                await stranger.put("/api/v1/functions/update", json={"functionId": function_id, "name": "mine"}),
                await upload(stranger, "code", project_id),
            ]

        assert {answer.status_code for answer in answers} == {404}
        digest = "sha256:" + hashlib.sha256(MAIN_DART).hexdigest()
        assert await bytes_of(postgres_world.services.contents, TENANT_ID, digest) == MAIN_DART
        assert await bytes_of(postgres_world.services.contents, UUID(int=9), digest) is None

    async def test_a_hundred_of_one_key_at_once_make_one(self, postgres_client: httpx.AsyncClient) -> None:
        headers = {"Idempotency-Key": uuid4().hex}

        answers = await asyncio.gather(
            *(postgres_client.post("/api/v1/projects", json={"name": "shop"}, headers=headers) for _ in range(100))
        )

        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.content for answer in answers}) == 1
        assert len((await ask(postgres_client, "GET", "/projects"))["items"]) == 1

    async def test_a_hundred_deployments_of_one_key_at_once_are_one(self, postgres_client: httpx.AsyncClient) -> None:
        project_id = await a_project(postgres_client)
        await connected(postgres_client, project_id)
        files = await the_files(postgres_client, project_id)
        function_id = await a_function(postgres_client, project_id, artifactFiles=files)
        asked = {"functionId": function_id, "provider": "local", "target": {}}
        path, headers = f"/api/v1/projects/{project_id}/deployments", {"Idempotency-Key": uuid4().hex}

        answers = await asyncio.gather(*(postgres_client.post(path, json=asked, headers=headers) for _ in range(100)))

        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["deploymentId"] for answer in answers}) == 1
        assert len((await postgres_client.get(path)).json()["items"]) == 1

    async def test_a_hundred_of_one_name_at_once_make_one(self, postgres_client: httpx.AsyncClient) -> None:
        answers = await asyncio.gather(
            *(postgres_client.post("/api/v1/projects", json={"name": "shop"}) for _ in range(100))
        )

        assert sorted({answer.status_code for answer in answers}) == [201, 409]
        assert [answer.status_code for answer in answers].count(201) == 1

    async def test_fifty_updates_of_one_function_at_once_are_all_made(self, postgres_client: httpx.AsyncClient) -> None:
        function_id = await a_function(postgres_client, await a_project(postgres_client))
        changes = [{"functionId": function_id, "description": f"number {n}"} for n in range(50)]

        answers = await asyncio.gather(*(postgres_client.put("/api/v1/functions/update", json=c) for c in changes))

        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.headers["etag"] for answer in answers}) == 50

    async def test_a_full_disk_is_named_and_forgotten_once_there_is_room(
        self, postgres_client: httpx.AsyncClient, database_url: str
    ) -> None:
        """*Method:* a trigger on the log's table raises what PostgreSQL does when it cannot extend a file."""
        owner = await asyncpg.connect(database_url)
        headers = {"Idempotency-Key": str(uuid4())}
        await owner.execute(_FULL)
        full = await postgres_client.post("/api/v1/projects", json={"name": "shop"}, headers=headers)
        await owner.execute("DROP TRIGGER disk_full ON log.streams")
        await owner.close()

        assert is_problem(full, 503, "disk_full")
        assert int(full.headers["retry-after"]) == 30
        again = await postgres_client.post("/api/v1/projects", json={"name": "shop"}, headers=headers)
        assert again.status_code == 201

    async def test_two_who_move_dates_of_one_runtime_at_once_both_do(self, postgres_world: World) -> None:
        """*Goal:* nobody's date is lost. *Method:* each names another date; ten times, as ever at once."""
        dates = {"deprecationAnnouncedAt": "2031-01-0{}T00:00:00Z", "blockNewDeploysAfter": "2032-01-0{}T00:00:00Z"}
        async with postgres_world.client(postgres_world.operator_key) as operator:
            for day in range(1, 6):
                named = {name: text.format(day) for name, text in dates.items()}
                await asyncio.gather(
                    *(
                        operator.patch("/api/v1/operations/runtimes/3.11.0", json={name: text})
                        for name, text in named.items()
                    )
                )
                found = (await operator.get("/api/v1/runtimes")).json()["supported"]
                row = next(item for item in found if item["version"] == "3.11.0")
                assert {name: row[name] for name in named} == named

    async def test_a_log_that_has_no_room_says_when_to_come_again(
        self, postgres_client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(waiting, "WAITING_APPENDS_MAX", 0)
        refused = await postgres_client.post("/api/v1/projects", json={"name": "shop"})
        monkeypatch.undo()

        assert is_problem(refused, 503, "log_busy")
        assert int(refused.headers["retry-after"]) >= 1
        assert (await postgres_client.post("/api/v1/projects", json={"name": "shop"})).status_code == 201


_FULL = """
CREATE FUNCTION log.disk_full() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full';
END
$$;
CREATE TRIGGER disk_full BEFORE INSERT OR UPDATE ON log.streams FOR EACH STATEMENT EXECUTE FUNCTION log.disk_full();
"""
