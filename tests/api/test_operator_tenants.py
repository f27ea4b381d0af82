"""Tenants as operators keep them."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import httpx

from api.first_start import TENANT_ID
from tests.api.runs import succeeded
from tests.api.steps import a_function, a_project, ask, connected, fields_of, is_problem, the_files
from tests.api.world import World

PLACE = f"/api/v1/operations/tenants/{TENANT_ID}"


class TestCreateTenant:
    async def test_makes_one_that_can_be_given_an_owner(self, world: World) -> None:
        async with world.client(world.operator_key) as operator:
            made = await ask(operator, "POST", "/operations/tenants", {"name": "Acme", "plan": "standard"}, status=201)
            place = f"/operations/tenants/{made['tenantId']}/invitations"
            invited = await ask(operator, "POST", place, {"email": "ada@acme.example", "role": "owner"}, status=201)
            usage = await ask(operator, "GET", "/operations/usage")

        assert (made["slug"], made["plan"], made["suspended"]) == ("acme", "standard", None)
        assert invited["invitation"].startswith(f"dcfi_{made['tenantId'].replace('-', '')}_")
        assert made["tenantId"] in {item["tenantId"] for item in usage["items"]}

    async def test_refuses_a_name_that_is_taken_and_a_plan_there_is_not(self, world: World) -> None:
        async with world.client(world.operator_key) as operator:
            taken = await operator.post("/api/v1/operations/tenants", json={"name": "default", "plan": "standard"})
            unknown = await operator.post("/api/v1/operations/tenants", json={"name": "acme", "plan": "gold"})

        assert is_problem(taken, 409, "tenant_name_taken")
        assert is_problem(unknown, 404, "plan_not_found")
        assert fields_of(unknown) == ["plan"]


class TestSuspendTenant:
    async def test_lets_nothing_be_changed_until_it_is_resumed(self, world: World) -> None:
        async with world.client(world.operator_key) as operator:
            place = f"/operations/tenants/{TENANT_ID}"
            async with world.client() as owner:
                await a_project(owner, "before")
                suspended = await ask(operator, "POST", f"{place}/suspend", {"reason": "unpaid"})
                refused = await owner.post("/api/v1/projects", json={"name": "shop"})
                read = await owner.get("/api/v1/projects")
                resumed = await ask(operator, "POST", f"{place}/resume")
                await a_project(owner, "after")

        assert (suspended["suspended"], resumed["suspended"]) == ("unpaid", None)
        assert is_problem(refused, 403, "tenant_suspended")
        assert "unpaid" in refused.json()["detail"]
        assert read.status_code == 200

    async def test_asked_twice_changes_nothing(self, world: World) -> None:
        async with world.client(world.operator_key) as operator:
            first, again = [
                await operator.post(f"/api/v1/operations/tenants/{TENANT_ID}/suspend", json={"reason": "unpaid"})
                for _ in range(2)
            ]

        assert again.json() == first.json()

    async def test_of_a_tenant_that_never_was_is_refused(self, world: World) -> None:
        async with world.client(world.operator_key) as operator:
            for verb in ("suspend", "resume"):
                answer: httpx.Response = await operator.post(f"/api/v1/operations/tenants/{uuid4()}/{verb}", json={})
                assert is_problem(answer, 404, "tenant_not_found")


class TestCloseTenant:
    async def test_names_what_is_live_and_changes_nothing(self, world: World, client: httpx.AsyncClient) -> None:
        await _live(world, client)
        async with world.client(world.operator_key) as operator:
            refused = await operator.post(f"{PLACE}/close", json={})

        assert is_problem(refused, 409, "tenant_is_live")
        assert "hello" in refused.json()["detail"]
        assert (await client.get("/api/v1/tenant")).json()["closedAt"] is None

    async def test_undeploys_first_when_told_and_lets_nobody_in(self, world: World, client: httpx.AsyncClient) -> None:
        deployment_id = await _live(world, client)
        async with world.client(world.operator_key) as operator:
            once = {"Idempotency-Key": uuid4().hex}
            asked = {"undeployFirst": True, "reason": "moved"}
            closed, again = [await operator.post(f"{PLACE}/close", json=asked, headers=once) for _ in range(2)]
            await asyncio.sleep(0.6)
            refused = await client.get("/api/v1/me")
            events = (await ask(operator, "GET", f"/audit/events?tenantId={TENANT_ID}&order=newestFirst"))["items"]
            kept = await ask(operator, "GET", f"/audit/entities/{deployment_id}?tenantId={TENANT_ID}")
            resumed = await operator.post(f"{PLACE}/resume")

        assert closed.status_code == 200, closed.text
        assert closed.json()["closedAt"] is not None
        assert again.content == closed.content
        assert is_problem(refused, 401, "credential_unknown")
        assert "closed" in refused.json()["detail"]
        assert {"tenant.closed", "function.archive_requested", "deployment.undeploy_requested"} <= {
            event["type"] for event in events
        }
        assert kept["value"]["status"] == "undeploy_queued"
        assert is_problem(resumed, 409, "tenant_is_closed")

    async def test_with_the_key_of_another_closing_is_refused_as_that(
        self, world: World, client: httpx.AsyncClient
    ) -> None:
        await _live(world, client)
        once = {"Idempotency-Key": uuid4().hex}
        async with world.client(world.operator_key) as operator:
            closed = await operator.post(f"{PLACE}/close", json={"undeployFirst": True}, headers=once)
            other = await operator.post(f"{PLACE}/close", json={"reason": "moved"}, headers=once)

        assert closed.status_code == 200
        assert is_problem(other, 409, "idempotency_key_reused")

    async def test_is_for_operators(self, client: httpx.AsyncClient) -> None:
        assert is_problem(await client.post(f"{PLACE}/close", json={}), 403, "permission_missing")


async def _live(world: World, client: httpx.AsyncClient) -> str:
    """The id of a deployment that serves."""
    project_id = await a_project(client)
    await connected(client, project_id)
    function_id = await a_function(client, project_id, artifactFiles=await the_files(client, project_id))
    wanted = {"functionId": function_id, "provider": "local", "target": {}}
    deployment = await client.post(f"/api/v1/projects/{project_id}/deployments", json=wanted)
    await succeeded(world, deployment.json())
    deployment_id: str = deployment.json()["deploymentId"]
    return deployment_id
