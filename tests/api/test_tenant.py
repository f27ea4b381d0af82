"""The tenant and its members over HTTP."""

from __future__ import annotations

from uuid import uuid4

import httpx

from api.first_start import OWNER_ID, TENANT_ID
from tests.api.steps import ask, is_problem
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
