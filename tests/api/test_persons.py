"""People's names: shown to whoever is entitled to them, and gone for good when one is erased."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from api.first_start import OWNER_ID, TENANT_ID
from api.id_tokens import IdTokens
from api.sign_in import Newcomers
from api.trusted_issuers import trusted_issuers
from commands.tenant import AddMember
from domain.event import SYSTEM_TENANT
from domain.tenant import Role
from eventstore.sealing import Erased, SealedField
from projections.persons import PERSON
from tests.api.steps import ask, is_problem
from tests.api.world import World, world_in_memory
from tests.emulators.oidc_issuer import CLIENT_ID, OidcIssuer, oidc_issuer

# What was known of a caller is forgotten after half a second.
FORGOTTEN_SECONDS = 0.6


@pytest.fixture
async def issuer() -> AsyncIterator[OidcIssuer]:
    async with oidc_issuer() as running:
        yield running


@pytest.fixture
async def world(issuer: OidcIssuer, tmp_path: Path) -> AsyncIterator[World]:
    async with httpx.AsyncClient(trust_env=False) as http:
        tokens = IdTokens(trusted_issuers(f"{issuer.url}={CLIENT_ID}"), http, clock=lambda: datetime.now(UTC))
        async with world_in_memory(tmp_path, tokens=tokens, newcomers=Newcomers()) as made:
            yield made


async def joined(world: World, token: str, role: Role) -> str:
    """The id of who signs in with the token, once they are a member of the first tenant."""
    async with world.client(token) as newcomer:
        person_id = (await ask(newcomer, "GET", "/me"))["actor"]["id"]
    await world.record(AddMember(tenant_id=TENANT_ID, at=world.services.clock(), person_id=UUID(person_id), role=role))
    await asyncio.sleep(FORGOTTEN_SECONDS)
    return str(person_id)


async def member(client: httpx.AsyncClient, person_id: str) -> Any:
    listed = (await ask(client, "GET", "/tenant/members"))["items"]
    one = await ask(client, "GET", f"/tenant/members/{person_id}")
    assert one in listed
    return one


class TestNames:
    async def test_of_members_are_shown_and_addresses_to_who_may_change_members(
        self, world: World, issuer: OidcIssuer
    ) -> None:
        ada, grace = issuer.token("ada"), issuer.token("grace")
        ada_id, grace_id = await joined(world, ada, "viewer"), await joined(world, grace, "admin")

        async with world.client(ada) as viewer, world.client(grace) as admin, world.client() as owner:
            seen = [(await member(client, id))["email"] for client in (viewer, admin) for id in (ada_id, grace_id)]
            names = [item["name"] for item in (await ask(viewer, "GET", "/tenant/members"))["items"]]
            by_key = await member(owner, ada_id)
            me = (await ask(viewer, "GET", "/me"))["person"]

        assert seen == ["ada@example.com", None, "ada@example.com", "grace@example.com"]
        assert names == ["Local owner", "Ada Lovelace", "Grace Lovelace"]
        assert by_key["email"] == "ada@example.com"
        assert me == {"personId": ada_id, "name": "Ada Lovelace", "email": "ada@example.com"}

    async def test_of_members_of_another_tenant_are_not(self, world: World, issuer: OidcIssuer) -> None:
        ada_id = await joined(world, issuer.token("ada"), "viewer")

        async with world.client(await world.stranger_key()) as stranger:
            assert is_problem(await stranger.get(f"/api/v1/tenant/members/{ada_id}"), 404, "member_not_found")

    async def test_are_in_no_event_and_in_no_kept_answer(self, world: World, issuer: OidcIssuer) -> None:
        ada_id = await joined(world, issuer.token("ada"), "viewer")
        async with world.client() as owner:
            await owner.patch(f"/api/v1/tenant/members/{ada_id}", json={"role": "developer"})
            audit = (await owner.get("/api/v1/audit/events?limit=200")).text

        stored = b"".join(event.data + event.meta for event in await world.log.read(0, limit=1000))
        assert b"Lovelace" not in stored
        assert b"ada@" not in stored
        assert "Lovelace" not in audit


class TestEraseMe:
    async def test_takes_away_the_name_the_memberships_and_the_key(self, world: World, issuer: OidcIssuer) -> None:
        token = issuer.token("ada")
        ada_id = await joined(world, token, "developer")
        row = await world.services.reader.one(PERSON, SYSTEM_TENANT, UUID(ada_id))
        assert row is not None
        assert row.row.name is not None
        sealed = SealedField(UUID(ada_id), "name", row.row.name)

        once = {"Idempotency-Key": uuid4().hex}
        async with world.client(token) as ada, world.client() as owner:
            erased, again = [await ada.delete("/api/v1/me", headers=once) for _ in range(2)]
            gone = await owner.get(f"/api/v1/tenant/members/{ada_id}")
            before = f"{erased.headers['event-position'].split(':')[0]}:{row.position + 1}"
            past = await owner.get(f"/api/v1/tenant/members?asOf={before}")
            usage = world.client(world.operator_key)
            async with usage as operator:
                (used,) = (await ask(operator, "GET", "/operations/usage"))["items"]

        assert (erased.status_code, erased.json()) == (200, {"personId": ada_id})
        assert again.content == erased.content
        assert is_problem(gone, 404, "member_not_found")
        assert [item["name"] for item in past.json()["items"]] == ["Local owner", None]
        assert used["members"] == 1
        row = await world.services.reader.one(PERSON, SYSTEM_TENANT, UUID(ada_id))
        assert row is not None
        assert (row.row.name, row.row.email, row.row.identity) == (None, None, "")
        assert await world.services.sealing.open_all(SYSTEM_TENANT, [sealed]) == [Erased(UUID(ada_id))]

    async def test_who_comes_back_is_somebody_new_and_a_member_nowhere(self, world: World, issuer: OidcIssuer) -> None:
        token = issuer.token("ada")
        ada_id = await joined(world, token, "developer")
        async with world.client(token) as ada:
            await ask(ada, "DELETE", "/me")
            await asyncio.sleep(FORGOTTEN_SECONDS)
            refused = await ada.get("/api/v1/me")
        async with world.client(issuer.token("ada", iat=int(time.time()) + 5)) as ada:
            me = await ask(ada, "GET", "/me")

        assert is_problem(refused, 401, "credential_unknown"), "the sign-in of before is none any more"
        assert me["actor"]["id"] != ada_id
        assert (me["role"], me["memberships"], me["person"]["name"]) == ("none", [], "Ada Lovelace")

    async def test_refuses_the_last_owner_of_a_tenant(self, world: World, issuer: OidcIssuer) -> None:
        token = issuer.token("ada")
        ada_id = await joined(world, token, "owner")
        async with world.client() as owner, world.client(token) as ada:
            await ask(owner, "PATCH", f"/tenant/members/{OWNER_ID}", {"role": "viewer"})
            refused = await ada.delete("/api/v1/me")
            await ask(owner, "PATCH", f"/tenant/members/{OWNER_ID}", {"role": "owner"})
            done = await ada.delete("/api/v1/me")

        assert is_problem(refused, 409, "last_owner")
        assert done.json() == {"personId": ada_id}

    async def test_is_for_people(self, client: httpx.AsyncClient) -> None:
        assert is_problem(await client.delete("/api/v1/me"), 403, "only_people")


class TestErasePerson:
    async def test_is_for_operators_who_may_erase_a_last_owner_too(self, world: World) -> None:
        async with world.client() as owner, world.client(world.operator_key) as operator:
            refused = await owner.delete(f"/api/v1/operations/persons/{OWNER_ID}")
            erased = await operator.delete(f"/api/v1/operations/persons/{OWNER_ID}")
            twice = await operator.delete(f"/api/v1/operations/persons/{OWNER_ID}")
            left = (await ask(owner, "GET", "/tenant/members"))["items"]
            invited = await operator.post(
                f"/api/v1/operations/tenants/{TENANT_ID}/invitations", json={"email": "a@b.example", "role": "owner"}
            )
            unknown = await operator.delete(f"/api/v1/operations/persons/{uuid4()}")

        assert is_problem(refused, 403, "permission_missing")
        assert (erased.status_code, twice.status_code, invited.status_code) == (200, 200, 201)
        assert left == []
        assert is_problem(unknown, 404, "person_not_found")

    async def test_ends_a_membership_that_began_while_it_was_under_way(self, world: World) -> None:
        """Asked again it looks again, so that nothing stays behind."""
        person_id = await world.person()
        async with world.client() as owner, world.client(world.operator_key) as operator:
            asked = {"personId": str(person_id), "role": "viewer"}
            added, erased = await asyncio.gather(
                owner.post("/api/v1/tenant/members", json=asked),
                operator.delete(f"/api/v1/operations/persons/{person_id}"),
            )
            await operator.delete(f"/api/v1/operations/persons/{person_id}")
            left = (await ask(owner, "GET", "/tenant/members"))["items"]

        assert erased.status_code == 200
        assert added.status_code in (201, 404)
        assert [item["personId"] for item in left] == [str(OWNER_ID)]
