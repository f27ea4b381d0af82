"""The tenant and its members over HTTP."""

from __future__ import annotations

from uuid import uuid4

import httpx
import msgspec

from api.first_start import OWNER_ID, TENANT_ID
from domain.plan import Limits
from tests.api.steps import a_draft, a_function, a_project, ask, is_problem
from tests.api.world import World


class TestGetTenant:
    async def test_shows_the_callers_own(self, world: World, client: httpx.AsyncClient) -> None:
        tenant = await ask(client, "GET", "/tenant")

        assert (tenant["tenantId"], tenant["slug"]) == (str(TENANT_ID), "default")
        async with world.client(await world.stranger_key()) as stranger:
            assert (await ask(stranger, "GET", "/tenant"))["tenantId"] != str(TENANT_ID)

    async def test_operators_have_none(self, world: World) -> None:
        async with world.client(world.operator_key) as operator:
            assert is_problem(await operator.get("/api/v1/tenant"), 404, "tenant_not_found")


class TestMembers:
    async def test_come_change_and_go(self, world: World, client: httpx.AsyncClient) -> None:
        person_id = str(await world.person())
        asked = {"personId": person_id, "role": "developer"}

        added = await client.post("/api/v1/tenant/members", json=asked)
        place = added.headers["location"]
        tag = {"If-Match": added.headers["etag"]}
        changed = await client.patch(place, json={"role": "admin"}, headers=tag)
        late = await client.patch(place, json={"role": "viewer"}, headers=tag)
        listed = await ask(client, "GET", "/tenant/members")
        once = {"Idempotency-Key": uuid4().hex, "If-Match": changed.headers["etag"]}
        removed = await client.delete(place, headers=once)
        again = await client.delete(place, headers=once)

        assert (added.status_code, changed.status_code, removed.status_code) == (201, 200, 200)
        assert is_problem(late, 412, "precondition_failed")
        assert changed.json() == {**added.json(), "role": "admin"}
        assert [item["role"] for item in listed["items"]] == ["owner", "admin"]
        assert again.content == removed.content
        assert is_problem(await client.get(place), 404, "member_not_found")
        assert is_problem(await client.delete(place), 404, "member_not_found")

    async def test_the_last_owner_stays(self, client: httpx.AsyncClient) -> None:
        place = f"/api/v1/tenant/members/{OWNER_ID}"

        assert is_problem(await client.delete(place), 409, "last_owner")
        assert is_problem(await client.patch(place, json={"role": "viewer"}), 409, "last_owner")

    async def test_an_admin_decides_about_no_owner(self, world: World) -> None:
        person_id = str(await world.person())
        async with world.client(await world.key(TENANT_ID, "admin")) as admin:
            for answer in (
                await admin.post("/api/v1/tenant/members", json={"personId": person_id, "role": "owner"}),
                await admin.delete(f"/api/v1/tenant/members/{OWNER_ID}"),
                await admin.patch(f"/api/v1/tenant/members/{OWNER_ID}", json={"role": "viewer"}),
            ):
                assert is_problem(answer, 403, "role_above_own")

    async def test_a_developer_only_looks(self, world: World) -> None:
        async with world.client(await world.key(TENANT_ID, "developer")) as developer:
            assert len((await ask(developer, "GET", "/tenant/members"))["items"]) == 1
            answer = await developer.delete(f"/api/v1/tenant/members/{OWNER_ID}")
            assert is_problem(answer, 403, "permission_missing")

    async def test_an_unknown_person_is_none(self, client: httpx.AsyncClient) -> None:
        asked = {"personId": str(uuid4()), "role": "viewer"}

        assert is_problem(await client.post("/api/v1/tenant/members", json=asked), 404, "person_not_found")


class TestLimits:
    async def test_are_shown_beside_what_is_used_of_them(self, world: World, client: httpx.AsyncClient) -> None:
        before = await ask(client, "GET", "/tenant")
        project_id, _ = await a_project(client, "one"), await a_project(client, "two")
        for name in ("a", "b"):
            await a_function(client, project_id, name=name)
        made = await client.post("/api/v1/functions", json=a_draft(project_id, name="c"))

        answer = await client.get("/api/v1/tenant")
        again = await client.get("/api/v1/tenant", headers={"If-None-Match": answer.headers["etag"]})
        past = await ask(client, "GET", f"/tenant?asOf={made.headers['event-position']}")

        limits = {one["name"]: one for one in answer.json()["limits"]}
        used = {name: one["used"] for name, one in limits.items()}
        plan = {field.encode_name for field in msgspec.structs.fields(Limits)}
        assert set(limits) == plan
        assert (used["projects"], used["functionsPerProject"], used["members"]) == (2, 3, 1)
        assert (used["concurrentDeployments"], used["queuedDeployments"], used["uploadBytes"]) == (0, 0, None)
        assert {one["name"]: one["limit"] for one in before["limits"]} == {
            name: one["limit"] for name, one in limits.items()
        }
        assert again.status_code == 304
        assert past["limits"] is None
