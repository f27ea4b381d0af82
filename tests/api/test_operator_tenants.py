"""Tenants as operators keep them."""

from __future__ import annotations

from uuid import uuid4

import httpx

from api.first_start import TENANT_ID
from tests.api.steps import ask, is_problem
from tests.api.world import World


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


class TestSuspendTenant:
    async def test_lets_nothing_be_changed_until_it_is_resumed(self, world: World) -> None:
        async with world.client(world.operator_key) as operator:
            place = f"/operations/tenants/{TENANT_ID}"
            suspended = await ask(operator, "POST", f"{place}/suspend", {"reason": "unpaid"})
            async with world.client() as owner:
                refused = await owner.post("/api/v1/projects", json={"name": "shop"})
                read = await owner.get("/api/v1/projects")
            resumed = await ask(operator, "POST", f"{place}/resume")

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
