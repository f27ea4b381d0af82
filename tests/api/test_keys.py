"""API keys over HTTP."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest

from api.auth import CACHE_SECONDS
from api.first_start import TENANT_ID
from tests.api.steps import a_project, ask, fields_of, is_problem
from tests.api.world import World


class TestCreateKey:
    async def test_shows_the_key_once_and_never_again(self, world: World, client: httpx.AsyncClient) -> None:
        headers = {"Idempotency-Key": uuid4().hex}
        asked = {"name": "ci", "role": "developer"}

        made = await client.post("/api/v1/keys", json=asked, headers=headers)
        again = await client.post("/api/v1/keys", json=asked, headers=headers)

        body = made.json()
        assert (made.status_code, again.status_code) == (201, 201)
        assert body["key"].startswith("dcf_")
        assert again.json() == {**body, "key": None}
        got = await client.get(made.headers["location"])
        assert got.json() == {name: value for name, value in body.items() if name != "key"}
        assert got.headers["etag"] == made.headers["etag"]
        async with world.client(body["key"]) as machine:
            assert (await ask(machine, "GET", "/me"))["actor"]["id"] == body["keyId"]

    async def test_keeps_nothing_the_key_could_be_told_from(self, world: World, client: httpx.AsyncClient) -> None:
        made = await ask(client, "POST", "/keys", {"name": "ci", "role": "viewer"}, status=201)

        secret = made["key"].split("_", 2)[2].encode()
        events = await world.log.read(0, limit=1000)
        assert not [event for event in events if secret in event.data or secret in event.meta]

    @pytest.mark.parametrize(
        ("changes", "status", "code", "fields"),
        [
            pytest.param({"role": "king"}, 422, "body_invalid", ["role"], id="no role"),
            pytest.param({"scopes": ["made:up"]}, 422, "body_invalid", ["scopes[0]"], id="an unknown scope"),
            pytest.param({"name": ""}, 422, "body_invalid", ["name"], id="no name"),
            pytest.param({"name": "a\nb"}, 422, "body_invalid", ["name"], id="a name over two lines"),
            pytest.param({"name": "a\n"}, 422, "body_invalid", ["name"], id="a line break at the end"),
            pytest.param({"expiresAt": "2020-01-01T00:00:00Z"}, 422, "expiry_passed", ["expiresAt"], id="a passed end"),
            pytest.param({"expiresAt": "2040-01-01T00:00:00"}, 422, "body_invalid", ["expiresAt"], id="no zone"),
            pytest.param(
                {"expiresAt": "9999-12-31T23:59:59-05:00"}, 422, "body_invalid", ["expiresAt"], id="after all times"
            ),
            pytest.param({"role": "operator"}, 422, "role_out_of_place", ["role"], id="an operator's"),
            pytest.param({"scopes": ["keys:write"]}, 422, "scope_outside_role", ["scopes"], id="more than the role"),
        ],
    )
    async def test_refuses_by_name(
        self, client: httpx.AsyncClient, changes: dict[str, object], status: int, code: str, fields: list[str]
    ) -> None:
        answer = await client.post("/api/v1/keys", json={"name": "ci", "role": "developer", **changes})

        assert is_problem(answer, status, code)
        assert fields_of(answer) == fields

    async def test_may_be_for_some_projects_and_for_no_others(self, world: World, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        wanted = {"name": "ci", "role": "developer", "projects": [project_id], "requestsPerMinute": 60}

        made = await ask(client, "POST", "/keys", wanted, status=201)
        rotated = await ask(client, "POST", f"/keys/{made['keyId']}/rotate", {}, status=201)

        for key in (made, rotated, await ask(client, "GET", f"/keys/{made['keyId']}")):
            assert (key["projects"], key["requestsPerMinute"]) == ([project_id], 60)
        async with world.client(rotated["key"]) as narrow:
            assert [one["projectId"] for one in (await ask(narrow, "GET", "/projects"))["items"]] == [project_id]

    async def test_is_for_no_project_of_another_tenant_nor_for_one_that_never_was(
        self, world: World, client: httpx.AsyncClient
    ) -> None:
        async with world.client(await world.stranger_key()) as stranger:
            theirs = await a_project(stranger)
        for project_id in (theirs, str(uuid4())):
            answer = await client.post("/api/v1/keys", json={"name": "x", "role": "viewer", "projects": [project_id]})
            assert is_problem(answer, 404, "project_not_found")
            assert fields_of(answer) == ["projects[0]"]

    async def test_for_operators_is_for_no_project(self, world: World) -> None:
        wanted = {"name": "x", "role": "operator", "projects": [str(uuid4())]}
        async with world.client(world.operator_key) as operator:
            assert is_problem(await operator.post("/api/v1/keys", json=wanted), 422, "role_out_of_place")

    async def test_an_admin_makes_no_owner(self, world: World) -> None:
        async with world.client(await world.key(TENANT_ID, "admin")) as admin:
            answer = await admin.post("/api/v1/keys", json={"name": "mine", "role": "owner"})

        assert is_problem(answer, 403, "role_above_own")

    async def test_a_scoped_key_makes_none_with_more_than_its_own(self, world: World) -> None:
        async with world.client(await world.key(TENANT_ID, "owner", "keys:write", "projects:read")) as scoped:
            wide = await scoped.post("/api/v1/keys", json={"name": "wide", "role": "owner"})
            narrow = await scoped.post(
                "/api/v1/keys", json={"name": "narrow", "role": "viewer", "scopes": ["projects:read"]}
            )

        assert is_problem(wide, 403, "scope_above_own")
        assert narrow.status_code == 201

    async def test_a_developer_makes_none(self, world: World) -> None:
        async with world.client(await world.key(TENANT_ID, "developer")) as developer:
            answer = await developer.post("/api/v1/keys", json={"name": "ci", "role": "viewer"})

        assert is_problem(answer, 403, "permission_missing")

    async def test_an_operator_makes_operators_keys(self, world: World) -> None:
        async with world.client(world.operator_key) as operator:
            made = await ask(operator, "POST", "/keys", {"name": "second", "role": "operator"}, status=201)
            listed = await ask(operator, "GET", "/keys")

        assert [key["name"] for key in listed["items"]] == ["second", "first operator key"]
        async with world.client(made["key"]) as second:
            assert (await ask(second, "GET", "/me"))["role"] == "operator"


class TestRevokeKey:
    async def test_ends_it_at_once(self, world: World, client: httpx.AsyncClient) -> None:
        made = await ask(client, "POST", "/keys", {"name": "ci", "role": "viewer"}, status=201)

        revoked = await ask(client, "DELETE", f"/keys/{made['keyId']}")

        assert revoked["revokedAt"]
        assert await ask(client, "GET", f"/keys/{made['keyId']}") == revoked
        async with world.client(made["key"]) as machine:
            assert is_problem(await machine.get("/api/v1/me"), 401, "credential_unknown")

    async def test_asking_twice_changes_nothing(self, client: httpx.AsyncClient) -> None:
        made = await ask(client, "POST", "/keys", {"name": "ci", "role": "viewer"}, status=201)
        first = await ask(client, "DELETE", f"/keys/{made['keyId']}")

        assert await ask(client, "DELETE", f"/keys/{made['keyId']}") == first

    async def test_refuses_what_has_changed_since(self, client: httpx.AsyncClient) -> None:
        made = await client.post("/api/v1/keys", json={"name": "ci", "role": "viewer"})
        place, tag = made.headers["location"], {"If-Match": f'"1", {made.headers["etag"]}'}

        assert (await client.delete(place, headers=tag)).status_code == 200
        assert is_problem(await client.delete(place, headers=tag), 412, "precondition_failed")

    async def test_an_admin_revokes_no_owners_key(self, world: World, client: httpx.AsyncClient) -> None:
        (own,) = (await ask(client, "GET", "/keys"))["items"]
        async with world.client(await world.key(TENANT_ID, "admin")) as admin:
            assert is_problem(await admin.delete(f"/api/v1/keys/{own['keyId']}"), 403, "role_above_own")

    async def test_knows_nothing_of_another_tenants(self, world: World, client: httpx.AsyncClient) -> None:
        made = await ask(client, "POST", "/keys", {"name": "ci", "role": "viewer"}, status=201)
        async with world.client(await world.stranger_key()) as stranger:
            for answer in (
                await stranger.get(f"/api/v1/keys/{made['keyId']}"),
                await stranger.delete(f"/api/v1/keys/{made['keyId']}"),
            ):
                assert is_problem(answer, 404, "api_key_not_found")


class TestLastUse:
    async def test_is_shown_to_the_minute(self, postgres_world: World, postgres_client: httpx.AsyncClient) -> None:
        made = await ask(postgres_client, "POST", "/keys", {"name": "ci", "role": "viewer"}, status=201)
        place = f"/keys/{made['keyId']}"
        unused = await ask(postgres_client, "GET", place)
        async with postgres_world.client(made["key"]) as machine:
            await ask(machine, "GET", "/me")

        used = await ask(postgres_client, "GET", place)
        uses, at = postgres_world.services.key_uses, postgres_world.services.clock()
        (noted,) = (await uses.of(TENANT_ID, [made["keyId"]])).values()
        await uses.note(TENANT_ID, made["keyId"], at + timedelta(seconds=30))
        (soon,) = (await uses.of(TENANT_ID, [made["keyId"]])).values()
        await uses.note(TENANT_ID, made["keyId"], at + timedelta(seconds=90))
        (later,) = (await uses.of(TENANT_ID, [made["keyId"]])).values()

        assert unused["lastUsedAt"] is None
        assert used["lastUsedAt"] is not None
        assert (soon, later) == (noted, at + timedelta(seconds=90))


class TestRotateKey:
    async def test_has_both_work_until_the_former_ends(self, world: World, client: httpx.AsyncClient) -> None:
        asked = {"name": "ci", "role": "developer", "scopes": ["projects:read"]}
        former = await ask(client, "POST", "/keys", asked, status=201)
        ends_at = world.services.clock() + timedelta(seconds=2.5)
        once = {"Idempotency-Key": uuid4().hex}
        body = {"overlapUntil": ends_at.isoformat()}

        made, again = [
            await client.post(f"/api/v1/keys/{former['keyId']}/rotate", json=body, headers=once) for _ in range(2)
        ]

        new = made.json()
        assert again.json() == {**new, "key": None}
        assert (new["name"], new["role"], new["scopes"], new["replaces"]) == (*asked.values(), former["keyId"])
        async with world.client(former["key"]) as old, world.client(new["key"]) as fresh:
            assert [(await one.get("/api/v1/projects")).status_code for one in (old, fresh)] == [200, 200]
            listed = {key["keyId"]: key for key in (await ask(client, "GET", "/keys"))["items"]}
            await asyncio.sleep((ends_at - world.services.clock()).total_seconds() + CACHE_SECONDS)
            late = await old.get("/api/v1/projects")
            assert (await fresh.get("/api/v1/projects")).status_code == 200

        assert listed[former["keyId"]]["replacedBy"] == new["keyId"]
        assert all(listed[id]["lastUsedAt"] for id in (former["keyId"], new["keyId"]))
        assert is_problem(late, 401, "credential_unknown")
        assert "expired" in late.json()["detail"]

    async def test_is_no_way_to_more_than_the_callers_own_key_may(
        self, world: World, client: httpx.AsyncClient
    ) -> None:
        wide = await ask(client, "POST", "/keys", {"name": "wide", "role": "developer"}, status=201)
        async with world.client(await world.key(TENANT_ID, "admin", "keys:write")) as narrow:
            answer = await narrow.post(f"/api/v1/keys/{wide['keyId']}/rotate", json={})

        assert is_problem(answer, 403, "scope_above_own")

    async def test_rotates_an_operators_key_too(self, world: World) -> None:
        async with world.client(world.operator_key) as operator:
            mine = (await ask(operator, "GET", "/me"))["actor"]["id"]
            new = await ask(operator, "POST", f"/keys/{mine}/rotate", {}, status=201)
            twice = await operator.post(f"/api/v1/keys/{mine}/rotate", json={})
            async with world.client(new["key"]) as fresh:
                assert (await ask(fresh, "GET", "/me"))["role"] == "operator"

        assert is_problem(twice, 409, "api_key_ended")
