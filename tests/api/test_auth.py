"""Credentials, roles and scopes."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, cast

import httpx
import pytest
from litestar import Litestar, get

from api.answer import Answer
from api.api_keys import parse_key
from api.app import ROUTES
from api.auth import Authenticator
from api.first_start import TENANT_ID
from api.operation import UndeclaredRoute, operations
from api.principal import ALLOWED, PERMISSIONS
from api.refusals import CredentialUnknown
from commands.api_key import RevokeApiKey
from commands.execute import Context, execute
from commands.ids import new_id
from eventstore.meta import Actor
from projections.reader import Reader
from tests.api.steps import a_project, ask, is_problem
from tests.api.world import World


class TestAuthorization:
    @pytest.mark.parametrize(
        ("header", "code"),
        [
            (None, "credential_missing"),
            ("", "credential_missing"),
            ("Basic YTpi", "credential_missing"),
            ("Bearer ", "credential_unknown"),
            ("Bearer dcf_wrong", "credential_unknown"),
            (f"Bearer dcf_{'0' * 32}_{'A' * 43}", "credential_unknown"),
        ],
    )
    async def test_what_is_not_known_is_401(self, world: World, header: str | None, code: str) -> None:
        async with world.client("") as client:
            answer = await client.get("/api/v1/projects", headers={} if header is None else {"Authorization": header})

        assert is_problem(answer, 401, code)
        assert answer.headers["www-authenticate"].startswith("Bearer")

    async def test_the_right_key_with_another_secret_is_401(self, world: World) -> None:
        async with world.client(world.owner_key[:-1] + ("A" if world.owner_key[-1] != "A" else "B")) as client:
            assert is_problem(await client.get("/api/v1/projects"), 401, "credential_unknown")

    async def test_an_expired_key_is_401(self, world: World) -> None:
        key = await world.key(TENANT_ID, "owner", expires_at=world.services.clock() - timedelta(seconds=1))

        async with world.client(key) as client:
            assert is_problem(await client.get("/api/v1/projects"), 401, "credential_unknown")

    async def test_a_revoked_key_is_401(self, world: World) -> None:
        key = await world.key(TENANT_ID, "owner")
        at = world.services.clock()
        parsed = parse_key(key)
        assert parsed is not None
        revoke = RevokeApiKey(tenant_id=TENANT_ID, at=at, key_id=parsed.key_id)
        await execute(world.log, revoke, Context(actor=Actor("system"), command_id=new_id(), correlation_id=new_id()))

        async with world.client(key) as client:
            assert is_problem(await client.get("/api/v1/projects"), 401, "credential_unknown")

    async def test_a_viewer_reads_and_writes_nothing(self, world: World, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        async with world.client(await world.key(TENANT_ID, "viewer")) as viewer:
            assert (await ask(viewer, "GET", f"/projects/{project_id}"))["projectId"] == project_id
            assert is_problem(await viewer.post("/api/v1/projects", json={"name": "x"}), 403, "permission_missing")

    async def test_scopes_narrow_a_role(self, world: World) -> None:
        async with world.client(await world.key(TENANT_ID, "owner", "projects:read", "made:up")) as scoped:
            assert (await ask(scoped, "GET", "/projects"))["items"] == []
            assert is_problem(await scoped.post("/api/v1/projects", json={"name": "x"}), 403, "permission_missing")

    async def test_an_operator_has_no_tenants_things(self, world: World) -> None:
        async with world.client(world.operator_key) as operator:
            me = await ask(operator, "GET", "/me")
            assert (me["role"], me["tenant"], me["actor"]["type"]) == ("operator", None, "operator")
            assert is_problem(await operator.get("/api/v1/projects"), 403, "permission_missing")

    async def test_me_says_who_i_am(self, client: httpx.AsyncClient) -> None:
        me = await ask(client, "GET", "/me")

        assert (me["role"], me["tenant"]["slug"], me["actor"]["type"]) == ("owner", "default", "key")
        assert "deployments:write" in me["permissions"]


class SlowReader:
    """A reader that counts what it is asked, and takes a while."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.asked = 0

    async def one(self, *asked: Any) -> Any:
        self.asked += 1
        await asyncio.sleep(0.05)
        return await self._reader.one(*asked)


class TestAuthenticator:
    async def test_looks_a_credential_up_once_for_all_who_come_at_once(self, world: World) -> None:
        authenticator, reader = slow(world)
        bearer = f"Bearer {world.owner_key}"

        principals = await asyncio.gather(*(authenticator.principal(bearer) for _ in range(20)))

        assert {principal.tenant_id for principal in principals} == {TENANT_ID}
        assert reader.asked == 1

    async def test_answers_the_others_when_the_first_of_them_leaves(self, world: World) -> None:
        authenticator, reader = slow(world)
        bearer = f"Bearer {world.owner_key}"
        first, second = (asyncio.create_task(authenticator.principal(bearer)) for _ in range(2))
        await asyncio.sleep(0)

        first.cancel()

        assert (await second).tenant_id == TENANT_ID
        assert reader.asked == 1

    async def test_refuses_all_who_come_at_once_and_asks_again_the_next_time(self, world: World) -> None:
        authenticator, reader = slow(world)
        unknown = f"Bearer dcf_{'0' * 32}_{'A' * 43}"

        refused = await asyncio.gather(*(authenticator.principal(unknown) for _ in range(5)), return_exceptions=True)
        with pytest.raises(CredentialUnknown):
            await authenticator.principal(unknown)

        assert [type(one) for one in refused] == [CredentialUnknown] * 5
        assert reader.asked == 2


def slow(world: World) -> tuple[Authenticator, SlowReader]:
    reader = SlowReader(world.services.reader)
    services = world.services
    return Authenticator(cast("Reader", reader), world.log, services.key_uses, services.clock), reader


class TestRoles:
    def test_each_allows_no_less_than_the_one_below(self) -> None:
        assert ALLOWED["viewer"] < ALLOWED["developer"] < ALLOWED["admin"] <= ALLOWED["owner"]
        assert ALLOWED["owner"] <= set(PERMISSIONS)


class TestOperations:
    def test_a_route_that_declares_nothing_stops_the_start(self) -> None:
        @get("/open")
        async def undeclared() -> Answer:
            return Answer(b"")

        with pytest.raises(UndeclaredRoute):
            list(operations(Litestar([undeclared], openapi_config=None)))

    def test_each_has_a_name_of_its_own(self) -> None:
        app = Litestar(list(ROUTES), openapi_config=None)

        names = [operation.name for _, _, operation in operations(app)]

        assert len(names) == len(set(names))
