"""API keys: made in a tenant, or for an operator outside all of them; revoked once."""

from __future__ import annotations

from datetime import timedelta

from domain.api_key import API_KEY, ApiKeyCreated, ApiKeyExists, ApiKeyUnknown, ExpiryPassed, RoleOutOfPlace
from domain.event import SYSTEM_TENANT, Fact
from domain.tenant import RoleAboveOwn, TenantUnknown
from tests.support import a
from tests.support.scenario import given


class TestCreateApiKey:
    def test_keeps_the_hash_of_the_secret(self) -> None:
        given(a.tenant_created()).when(a.create_api_key(secret_hash="cd" * 32)).then(
            a.api_key_created(secret_hash="cd" * 32)
        )

    def test_keeps_its_scopes_and_its_end(self) -> None:
        tomorrow = a.AT + timedelta(days=1)

        given(a.tenant_created()).when(a.create_api_key(scopes=("functions:read",), expires_at=tomorrow)).then(
            a.api_key_created(scopes=("functions:read",), expires_at=tomorrow)
        )

    def test_refuses_an_end_that_has_passed(self) -> None:
        given(a.tenant_created()).when(a.create_api_key(expires_at=a.AT)).then_refused(
            ExpiryPassed, fields=("expiresAt",)
        )

    def test_refuses_a_role_above_that_of_who_asks(self) -> None:
        given(a.tenant_created()).when(a.create_api_key(role="owner", asked_by="admin")).then_refused(RoleAboveOwn)

    def test_makes_an_operators_key_outside_all_tenants(self) -> None:
        created = ApiKeyCreated(name="CI", secret_hash="ab" * 32, role="operator")

        given().when(a.create_api_key(tenant_id=SYSTEM_TENANT, role="operator")).then(
            Fact(API_KEY.stream(SYSTEM_TENANT, a.KEY_ID), created)
        )

    def test_refuses_an_operators_key_in_a_tenant(self) -> None:
        given(a.tenant_created()).when(a.create_api_key(role="operator")).then_refused(RoleOutOfPlace, fields=("role",))

    def test_refuses_a_tenants_role_outside_all_tenants(self) -> None:
        given().when(a.create_api_key(tenant_id=SYSTEM_TENANT, role="owner")).then_refused(RoleOutOfPlace)

    def test_refuses_a_tenant_that_never_was(self) -> None:
        given().when(a.create_api_key()).then_refused(TenantUnknown)

    def test_refuses_an_id_that_is_a_key_already(self) -> None:
        given(a.tenant_created(), a.api_key_created()).when(a.create_api_key()).then_refused(ApiKeyExists)


class TestRevokeApiKey:
    def test_says_why(self) -> None:
        given(a.api_key_created()).when(a.revoke_api_key(reason="leaked")).then(a.api_key_revoked("leaked"))

    def test_refuses_a_key_above_who_asks(self) -> None:
        given(a.api_key_created(role="owner")).when(a.revoke_api_key(asked_by="admin")).then_refused(RoleAboveOwn)

    def test_asking_twice_changes_nothing(self) -> None:
        given(a.api_key_created(), a.api_key_revoked()).when(a.revoke_api_key()).then_nothing()

    def test_refuses_a_key_that_never_was(self) -> None:
        given().when(a.revoke_api_key()).then_refused(ApiKeyUnknown)
