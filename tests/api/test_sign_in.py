"""People who sign in with an ID token, from nobody to a member of a tenant."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from api.id_tokens import IdTokens
from api.sign_in import Newcomers, identity_hash
from api.trusted_issuers import trusted_issuers
from commands.person import ErasePerson
from commands.tenant import AddMember, ChangeRole, CreateTenant, RemoveMember
from domain.event import SYSTEM_TENANT
from domain.tenant import Role
from projections.persons import PERSON_ERASED
from tests.api.steps import is_problem
from tests.api.world import World, world_in_memory
from tests.emulators.oidc_issuer import CLIENT_ID, OidcIssuer, oidc_issuer


@pytest.fixture
async def issuer() -> AsyncIterator[OidcIssuer]:
    async with oidc_issuer() as running:
        yield running


@pytest.fixture
async def world(issuer: OidcIssuer, tmp_path: Path) -> AsyncIterator[World]:
    """Newcomers wait to be invited."""
    async with _world(issuer, tmp_path, Newcomers()) as made:
        yield made


@pytest.fixture
async def open_world(issuer: OidcIssuer, tmp_path: Path) -> AsyncIterator[World]:
    """Newcomers get a workspace."""
    async with _world(issuer, tmp_path, Newcomers(first="workspace")) as made:
        yield made


@asynccontextmanager
async def _world(issuer: OidcIssuer, data_dir: Path, newcomers: Newcomers) -> AsyncIterator[World]:
    async with httpx.AsyncClient(trust_env=False) as http:
        tokens = IdTokens(trusted_issuers(f"{issuer.url}={CLIENT_ID}"), http, clock=lambda: datetime.now(UTC))
        async with world_in_memory(data_dir, tokens=tokens, newcomers=newcomers) as made:
            yield made


async def _me(world: World, token: str, **headers: str) -> dict[str, Any]:
    async with world.client(token) as client:
        answer = await client.get("/api/v1/me", headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def _join(world: World, person_id: str, role: Role = "developer") -> str:
    """A new tenant that the person is a member of."""
    tenant_id = uuid4()
    name = f"tenant-{tenant_id.hex[:8]}"
    at = world.services.clock()
    await world.record(CreateTenant(tenant_id=tenant_id, at=at, name=name, plan="sandbox"))
    await world.record(AddMember(tenant_id=tenant_id, at=at, person_id=UUID(person_id), role=role))
    return str(tenant_id)


class TestTheFirstSignIn:
    async def test_registers_a_person_who_belongs_nowhere_yet(self, world: World, issuer: OidcIssuer) -> None:
        me = await _me(world, issuer.token("ada"))

        assert me["actor"]["type"] == "person"
        assert (me["role"], me["permissions"], me["tenant"], me["memberships"]) == ("none", ["self"], None, [])

    async def test_is_the_only_first_one(self, world: World, issuer: OidcIssuer) -> None:
        first, second = await _me(world, issuer.token("ada")), await _me(world, issuer.token("ada", exp=2**31))

        assert first["actor"] == second["actor"]
        assert (await _me(world, issuer.token("eve")))["actor"] != first["actor"]

    async def test_happens_once_when_many_requests_come_at_once(self, open_world: World, issuer: OidcIssuer) -> None:
        tokens = [issuer.token("ada", iat=1_700_000_000 + n) for n in range(8)]

        found = await asyncio.gather(*(_me(open_world, token) for token in tokens))

        assert len({me["actor"]["id"] for me in found}) == 1
        assert len({me["tenant"]["tenantId"] for me in found}) == 1

    async def test_makes_a_workspace_where_that_is_wanted(self, open_world: World, issuer: OidcIssuer) -> None:
        async with open_world.client(issuer.token("ada")) as client:
            made = await client.post("/api/v1/projects", json={"name": "first"})
            me = (await client.get("/api/v1/me")).json()

        assert made.status_code == 201, made.text
        assert (me["role"], me["tenant"]["plan"]) == ("owner", "sandbox")
        assert [m["tenantId"] for m in me["memberships"]] == [me["tenant"]["tenantId"]]
        assert "ada" not in me["tenant"]["name"].lower()

    async def test_writes_no_name_and_no_address_in_the_clear(self, world: World, issuer: OidcIssuer) -> None:
        await _me(world, issuer.token("grace"))

        stored = [event async for event in _everything(world)]
        assert any(b"person.registered" in event for event in stored)
        assert not any(b"race" in event or b"example.com" in event for event in stored)


class TestAMember:
    async def test_of_no_tenant_is_told_to_be_invited(self, world: World, issuer: OidcIssuer) -> None:
        async with world.client(issuer.token()) as client:
            answer = await client.get("/api/v1/projects")

        assert (answer.status_code, answer.json()["code"]) == (403, "no_membership")

    async def test_of_one_tenant_acts_there_as_their_role_allows(self, world: World, issuer: OidcIssuer) -> None:
        token = issuer.token()
        tenant_id = await _join(world, (await _me(world, token))["actor"]["id"], "viewer")

        async with world.client(token) as client:
            listed = await client.get("/api/v1/projects")
            made = await client.post("/api/v1/projects", json={"name": "mine"})
            me = (await client.get("/api/v1/me")).json()

        assert listed.status_code == 200
        assert (made.status_code, made.json()["code"]) == (403, "permission_missing")
        assert (me["tenant"]["tenantId"], me["role"]) == (tenant_id, "viewer")

    async def test_with_a_greater_role_may_more_at_once(self, world: World, issuer: OidcIssuer) -> None:
        token = issuer.token()
        person_id = UUID((await _me(world, token))["actor"]["id"])
        tenant_id = UUID(await _join(world, str(person_id), "viewer"))
        assert (await _me(world, token))["role"] == "viewer"

        at = world.services.clock()
        await world.record(ChangeRole(tenant_id=tenant_id, at=at, person_id=person_id, role="admin"))

        async with world.client(token) as client:
            made = await client.post("/api/v1/projects", json={"name": "mine"})
        assert made.status_code == 201, made.text

    async def test_of_several_says_in_which_one_they_act(self, world: World, issuer: OidcIssuer) -> None:
        person_id = (await _me(world, issuer.token()))["actor"]["id"]
        first, second = await _join(world, person_id, "viewer"), await _join(world, person_id, "owner")

        async with world.client(issuer.token(iat=1_700_000_000)) as client:
            unsaid = await client.get("/api/v1/projects")
            chosen = await client.get("/api/v1/projects", headers={"Dcf-Tenant": second})
            me = (await client.get("/api/v1/me", headers={"Dcf-Tenant": first})).json()
            elsewhere = await client.get("/api/v1/projects", headers={"Dcf-Tenant": str(uuid4())})

        assert (unsaid.status_code, unsaid.json()["code"]) == (403, "tenant_not_chosen")
        assert chosen.status_code == 200
        assert (me["role"], me["tenant"]["tenantId"]) == ("viewer", first)
        assert (elsewhere.status_code, elsewhere.json()["code"]) == (403, "not_a_member")

    async def test_is_none_any_more_within_a_second_of_being_removed(self, world: World, issuer: OidcIssuer) -> None:
        token = issuer.token()
        person_id = (await _me(world, token))["actor"]["id"]
        tenant_id = await _join(world, person_id)
        assert (await _me(world, token))["role"] == "developer"

        await world.record(
            RemoveMember(tenant_id=UUID(tenant_id), at=world.services.clock(), person_id=UUID(person_id))
        )
        await asyncio.sleep(0.6)

        assert (await _me(world, token))["role"] == "none"

    async def test_who_was_erased_comes_back_as_somebody_new(self, world: World, issuer: OidcIssuer) -> None:
        before = (await _me(world, issuer.token()))["actor"]["id"]
        await world.record(ErasePerson(tenant_id=SYSTEM_TENANT, at=world.services.clock(), person_id=UUID(before)))

        assert (await _me(world, issuer.token(iat=int(time.time()) + 2)))["actor"]["id"] != before

    async def test_who_was_erased_does_not_come_back_by_a_token_of_before(
        self, world: World, issuer: OidcIssuer
    ) -> None:
        """Also not by one that was renewed since: what counts is when the person signed in."""
        former = issuer.token()
        renewed = issuer.token(auth_time=int(time.time()) - 60, iat=int(time.time()) + 2)
        before = (await _me(world, former))["actor"]["id"]
        await world.record(ErasePerson(tenant_id=SYSTEM_TENANT, at=world.services.clock(), person_id=UUID(before)))

        await asyncio.sleep(0.6)  # As long as a credential that was good is not looked at again.
        for token in (former, renewed, issuer.token(iat=1_700_000_000)):
            async with world.client(token) as client:
                refused = await client.get("/api/v1/me")
                assert is_problem(refused, 401, "credential_unknown")
        people = await world.services.reader.rows(PERSON_ERASED, None, identity_hash(issuer.url, "ada"))
        assert [str(found.id) for found in people] == [before], "nobody was registered anew"


class TestAKey:
    async def test_belongs_to_one_tenant_whatever_the_header_asks(self, world: World) -> None:
        async with world.client() as client:
            mine = (await client.get("/api/v1/me")).json()["tenant"]["tenantId"]
            same = await client.get("/api/v1/projects", headers={"Dcf-Tenant": mine})
            other = await client.get("/api/v1/projects", headers={"Dcf-Tenant": str(uuid4())})

        assert same.status_code == 200
        assert (other.status_code, other.json()["code"]) == (403, "not_a_member")


class TestAServiceWithoutIssuers:
    async def test_takes_no_id_token(self, tmp_path: Path, issuer: OidcIssuer) -> None:
        async with world_in_memory(tmp_path) as alone, alone.client(issuer.token()) as client:
            answer = await client.get("/api/v1/me")

        assert (answer.status_code, answer.json()["code"]) == (401, "credential_unknown")


async def _everything(world: World) -> AsyncIterator[bytes]:
    for event in await world.log.read(0, limit=1000):
        yield event.type.encode() + event.meta + event.data
