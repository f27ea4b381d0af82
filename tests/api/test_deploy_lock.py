"""A project's deploy lock over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from domain.project import LOCK_DAYS_MAX
from tests.api.runs import succeeded
from tests.api.steps import a_function, a_project, ask, connected, fields_of, is_problem, the_files
from tests.api.world import World


def lock_of(project_id: str) -> str:
    return f"/projects/{project_id}/deploy-lock"


@pytest.fixture
async def project_id(client: httpx.AsyncClient) -> str:
    return await a_project(client)


class TestLockDeployments:
    async def test_is_shown_with_the_project_until_it_is_taken_away(
        self, client: httpx.AsyncClient, world: World, project_id: str
    ) -> None:
        until = (world.services.clock() + timedelta(hours=2)).isoformat(timespec="seconds").replace("+00:00", "Z")

        locked = await ask(client, "PUT", lock_of(project_id), {"reason": "Stocktaking", "expiresAt": until})

        lock = locked["deployLock"]
        assert set(lock) == {"reason", "lockedBy", "lockedAt", "expiresAt"}
        assert (lock["reason"], lock["expiresAt"], lock["lockedBy"]["type"]) == ("Stocktaking", until, "key")
        assert locked == await ask(client, "GET", lock_of(project_id))
        assert (await ask(client, "GET", f"/projects/{project_id}"))["deployLock"] == lock
        assert (await ask(client, "GET", "/projects"))["items"][0]["deployLock"] == lock
        for _ in range(2):
            unlocked = await ask(client, "DELETE", lock_of(project_id))
            assert unlocked == {"projectId": project_id, "deployLock": None}
        assert (await ask(client, "GET", f"/projects/{project_id}"))["deployLock"] is None
        recorded = [event["type"] for event in (await ask(client, "GET", "/audit/events"))["items"]]
        assert recorded.count("project.deployments_locked") == recorded.count("project.deployments_unlocked") == 1

    async def test_is_shown_no_more_once_it_has_ended_by_itself_though_the_etag_stays(
        self, client: httpx.AsyncClient, world: World, project_id: str
    ) -> None:
        until = world.services.clock() + timedelta(seconds=2)
        await ask(client, "PUT", lock_of(project_id), {"reason": "Stocktaking", "expiresAt": until.isoformat()})
        locked = await client.get(f"/api/v1/projects/{project_id}")
        while world.services.clock() < until:
            pass

        again = await client.get(f"/api/v1/projects/{project_id}", headers={"If-None-Match": locked.headers["etag"]})

        assert locked.json()["deployLock"] is not None
        assert again.status_code == 200
        assert again.json()["deployLock"] is None
        assert (await ask(client, "GET", "/projects"))["items"][0]["deployLock"] is None
        assert (await ask(client, "GET", lock_of(project_id)))["deployLock"] is None

    @pytest.mark.parametrize(
        ("body", "code", "field"),
        [
            ({}, "body_invalid", "reason"),
            ({"reason": ""}, "body_invalid", "reason"),
            ({"reason": "x" * 501}, "body_invalid", "reason"),
            ({"reason": "x", "expiresAt": "2026-03-01T12:00:00"}, "body_invalid", "expiresAt"),
            ({"reason": "x", "expiresAt": "2020-03-01T12:00:00Z"}, "lock_expiry_not_allowed", "expiresAt"),
            ({"reason": "x", "expiresAt": "2999-03-01T12:00:00Z"}, "lock_expiry_not_allowed", "expiresAt"),
            ({"reason": "x", "until": "2999-03-01T12:00:00Z"}, "body_invalid", "until"),
        ],
    )
    async def test_refuses_by_field(
        self, client: httpx.AsyncClient, project_id: str, body: dict[str, Any], code: str, field: str
    ) -> None:
        answer = await client.put(f"/api/v1{lock_of(project_id)}", json=body)

        assert is_problem(answer, 422, code)
        assert fields_of(answer) == [field]

    async def test_heeds_if_match_of_the_project(self, client: httpx.AsyncClient, project_id: str) -> None:
        etag = (await client.get(f"/api/v1/projects/{project_id}")).headers["etag"]
        await ask(client, "PATCH", f"/projects/{project_id}", {"name": "store"})

        stale = await client.put(f"/api/v1{lock_of(project_id)}", json={"reason": "x"}, headers={"If-Match": etag})

        assert is_problem(stale, 412, "precondition_failed")


class TestALockedProject:
    async def test_refuses_to_deploy_and_says_who_why_until_when_and_how_to_unlock(
        self, client: httpx.AsyncClient, world: World, project_id: str
    ) -> None:
        await connected(client, project_id)
        function_id = await a_function(client, project_id, artifactFiles=await the_files(client, project_id))
        wanted = {"functionId": function_id, "provider": "local", "target": {}}
        at = f"/api/v1/projects/{project_id}/deployments"
        first = (await client.post(at, json=wanted)).json()
        await succeeded(world, first)
        lock = (await ask(client, "PUT", lock_of(project_id), {"reason": "Stocktaking"}))["deployLock"]

        refused = [
            await client.post(at, json=wanted),
            await client.post(at, json=wanted | {"validateOnly": True}),
            *[await client.post(f"{at}/{first['deploymentId']}/{verb}", json={}) for verb in ("redeploy", "rollback")],
        ]

        for answer in refused[:3]:
            assert is_problem(answer, 409, "project_deployments_locked")
            detail = answer.json()["detail"]
            assert lock["lockedBy"]["id"] in detail
            assert lock["expiresAt"][:19] in detail
            assert "Stocktaking" in detail
            assert "DELETE /api/v1/projects/{projectId}/deploy-lock" in answer.json()["remedy"]
        assert is_problem(refused[3], 409, "rollback_active")
        undeployed = await client.post(f"{at}/{first['deploymentId']}/undeploy", json={})
        assert undeployed.status_code == 202
        days = timedelta(days=LOCK_DAYS_MAX)
        assert lock["lockedAt"] < (world.services.clock() + days).isoformat() >= lock["expiresAt"]
