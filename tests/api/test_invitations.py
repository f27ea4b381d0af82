"""Somebody is invited, signs in, joins, and may leave again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api.first_start import OWNER_ID, TENANT_ID
from api.id_tokens import IdTokens
from api.trusted_issuers import trusted_issuers
from commands.tenant import InviteMember
from tests.api.steps import ask, is_problem
from tests.api.world import World, world_in_memory
from tests.emulators.oidc_issuer import CLIENT_ID, OidcIssuer, oidc_issuer

ADA = {"email": "ada@example.com", "role": "developer"}


@pytest.fixture
async def issuer() -> AsyncIterator[OidcIssuer]:
    async with oidc_issuer() as running:
        yield running


@pytest.fixture
async def world(issuer: OidcIssuer, tmp_path: Path) -> AsyncIterator[World]:
    """One in which people may sign in."""
    async with httpx.AsyncClient(trust_env=False) as http:
        tokens = IdTokens(trusted_issuers(f"{issuer.url}={CLIENT_ID}"), http, clock=lambda: datetime.now(UTC))
        async with world_in_memory(tmp_path, tokens=tokens) as made:
            yield made


@pytest.fixture
async def ada(world: World, issuer: OidcIssuer) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client(issuer.token("ada")) as made:
        yield made


async def _invited(client: httpx.AsyncClient, **changed: Any) -> dict[str, Any]:
    answer = await client.post("/api/v1/tenant/invitations", json={**ADA, **changed})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def _accept(client: httpx.AsyncClient, text: str, **headers: str) -> httpx.Response:
    return await client.post("/api/v1/me/memberships", json={"invitation": text}, headers=headers)


class TestAnInvitation:
    async def test_makes_whom_it_was_sent_to_a_member_with_its_role(
        self, client: httpx.AsyncClient, ada: httpx.AsyncClient
    ) -> None:
        made = await _invited(client)
        assert (await ada.get("/api/v1/me")).json()["role"] == "none"

        joined = await _accept(ada, made["invitation"])

        assert joined.status_code == 200, joined.text
        assert joined.json() == {"tenantId": str(TENANT_ID), "name": "default", "role": "developer"}
        me = (await ada.get("/api/v1/me")).json()
        assert (me["role"], me["tenant"]["tenantId"]) == ("developer", str(TENANT_ID))
        shown = await ask(client, "GET", f"/tenant/invitations/{made['invitationId']}")
        assert (shown["status"], shown["email"], shown["personId"]) == ("accepted", None, me["actor"]["id"])

    @pytest.mark.parametrize("claims", [{"email": "eve@example.com"}, {"email_verified": False}, {"email": None}])
    async def test_is_of_no_use_to_whom_nobody_says_it_was_sent_to(
        self, client: httpx.AsyncClient, issuer: OidcIssuer, world: World, claims: dict[str, Any]
    ) -> None:
        made = await _invited(client, email="Ada@Example.com")
        async with world.client(issuer.token("eve", **{"email": ADA["email"], **claims})) as eve:
            refused = await _accept(eve, made["invitation"])
            guessed = await _accept(eve, made["invitation"][:-4] + "AAAA")
        async with world.client(issuer.token("ada")) as ada:
            joined = await _accept(ada, made["invitation"])

        is_problem(refused, 403, "invitation_for_another")
        is_problem(guessed, 404, "invitation_not_found")
        assert joined.status_code == 200, "in whatever case it was written"

    async def test_is_shown_with_its_email_and_never_again_with_its_text(self, client: httpx.AsyncClient) -> None:
        once = {"Idempotency-Key": uuid4().hex}
        first = await client.post("/api/v1/tenant/invitations", json=ADA, headers=once)
        again = await client.post("/api/v1/tenant/invitations", json=ADA, headers=once)
        listed = await ask(client, "GET", "/tenant/invitations")

        assert first.json()["invitation"].startswith("dcfi_")
        assert again.json() == {**first.json(), "invitation": None}
        [item] = listed["items"]
        assert (item["email"], item["status"]) == ("ada@example.com", "open")
        assert first.json()["invitation"] not in str(listed)

    async def test_is_good_once(
        self, client: httpx.AsyncClient, ada: httpx.AsyncClient, world: World, issuer: OidcIssuer
    ) -> None:
        text = (await _invited(client))["invitation"]
        once = {"Idempotency-Key": uuid4().hex}

        first, repeated = await _accept(ada, text, **once), await _accept(ada, text, **once)

        assert (first.status_code, repeated.json()) == (200, first.json())
        async with world.client(issuer.token("eve")) as eve:
            assert is_problem(await _accept(eve, text), 404, "invitation_not_found")

    async def test_that_was_withdrawn_is_none(self, client: httpx.AsyncClient, ada: httpx.AsyncClient) -> None:
        made = await _invited(client)
        withdrawn = await client.delete(f"/api/v1/tenant/invitations/{made['invitationId']}")

        assert withdrawn.status_code == 200
        assert is_problem(await _accept(ada, made["invitation"]), 404, "invitation_not_found")
        shown = await ask(client, "GET", f"/tenant/invitations/{made['invitationId']}")
        assert (shown["status"], shown["email"]) == ("withdrawn", None)

    async def test_is_shown_as_it_was(self, client: httpx.AsyncClient) -> None:
        first = await client.post("/api/v1/tenant/invitations", json=ADA)
        then, path = first.headers["event-position"], f"/tenant/invitations/{first.json()['invitationId']}"
        await ask(client, "DELETE", path)
        await _invited(client, email="eve@example.com")

        was = await ask(client, "GET", f"{path}?asOf={then}")
        listed = await ask(client, "GET", f"/tenant/invitations?asOf={then}")

        # The address went for good with the invitation.
        assert (was["status"], was["email"]) == ("open", None)
        assert listed["items"] == [was]
        assert (await ask(client, "GET", path))["status"] == "withdrawn"

    async def test_that_has_expired_says_so(self, world: World, client: httpx.AsyncClient) -> None:
        invitation_id = uuid4()
        past = world.services.clock() - timedelta(days=8)
        await world.record(
            InviteMember(
                tenant_id=TENANT_ID,
                at=past,
                invitation_id=invitation_id,
                email=await world.services.sealing.seal(TENANT_ID, invitation_id, "email", "ada@example.com"),
                role="viewer",
                secret_hash="ab" * 32,
                expires_at=past + timedelta(days=7),
            )
        )

        assert (await ask(client, "GET", f"/tenant/invitations/{invitation_id}"))["status"] == "expired"

    async def test_made_up_is_told_apart_from_no_other(self, client: httpx.AsyncClient, ada: httpx.AsyncClient) -> None:
        """Neither the tenant nor the invitation may be guessed from the answers."""
        head, tenant, invitation, secret = (await _invited(client))["invitation"].split("_", 3)
        guesses = [
            f"{head}_{tenant}_{invitation}_{'A' * 43}",
            f"{head}_{tenant}_{uuid4().hex}_{secret}",
            f"{head}_{uuid4().hex}_{invitation}_{secret}",
        ]

        answers = [await _accept(ada, guess, **{"X-Request-Id": str(TENANT_ID)}) for guess in guesses]

        assert all(is_problem(answer, 404, "invitation_not_found") for answer in answers)
        assert len({answer.content for answer in answers}) == 1
        assert is_problem(await _accept(ada, "dcfi_nonsense"), 422, "invitation_malformed")

    async def test_gives_no_role_above_that_of_whoever_invites(self, world: World) -> None:
        async with world.client(await world.key(TENANT_ID, "admin")) as admin:
            refused = await admin.post("/api/v1/tenant/invitations", json={**ADA, "role": "owner"})

        assert is_problem(refused, 403, "role_above_own")

    async def test_is_nothing_for_keys_and_nothing_developers_give(
        self, world: World, client: httpx.AsyncClient
    ) -> None:
        text = (await _invited(client))["invitation"]

        assert is_problem(await _accept(client, text), 403, "only_people")
        async with world.client(await world.key(TENANT_ID, "developer")) as developer:
            assert is_problem(await developer.post("/api/v1/tenant/invitations", json=ADA), 403, "permission_missing")

    async def test_stores_no_address_in_the_clear(self, world: World, client: httpx.AsyncClient) -> None:
        await _invited(client)

        stored = b"".join(event.meta + event.data for event in await world.log.read(0, limit=1000))
        assert b"member_invited" in stored
        assert b"example.com" not in stored


class TestLeaving:
    async def test_ends_ones_own_membership(self, client: httpx.AsyncClient, ada: httpx.AsyncClient) -> None:
        await _accept(ada, (await _invited(client, role="viewer"))["invitation"])
        assert (await ada.get("/api/v1/me")).json()["role"] == "viewer"

        left = await ada.delete(f"/api/v1/me/memberships/{TENANT_ID}")

        assert left.status_code == 200, left.text
        assert (await ada.get("/api/v1/me")).json()["role"] == "none"
        members = [item["personId"] for item in (await ask(client, "GET", "/tenant/members"))["items"]]
        assert members == [str(OWNER_ID)]

    async def test_of_a_tenant_one_is_not_in_says_the_same_as_of_one_that_never_was(
        self, ada: httpx.AsyncClient
    ) -> None:
        same = {"X-Request-Id": str(TENANT_ID)}
        there = await ada.delete(f"/api/v1/me/memberships/{TENANT_ID}", headers=same)
        nowhere = await ada.delete(f"/api/v1/me/memberships/{uuid4()}", headers=same)

        assert is_problem(there, 404, "member_not_found")
        assert there.content == nowhere.content

    async def test_is_not_for_the_last_owner(self, client: httpx.AsyncClient, ada: httpx.AsyncClient) -> None:
        await _accept(ada, (await _invited(client, role="owner"))["invitation"])
        await client.delete(f"/api/v1/tenant/members/{OWNER_ID}")

        assert is_problem(await ada.delete(f"/api/v1/me/memberships/{TENANT_ID}"), 409, "last_owner")
