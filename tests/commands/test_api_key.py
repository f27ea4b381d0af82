"""API keys: made in a tenant, or for an operator outside all of them; revoked once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from commands.api_key import OVERLAP
from domain.api_key import (
    API_KEY,
    ApiKeyCreated,
    ApiKeyEnded,
    ApiKeyExists,
    ApiKeyReplaced,
    ApiKeyUnknown,
    ExpiryPassed,
    RoleOutOfPlace,
)
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


class TestRotateApiKey:
    def test_gives_another_key_its_place_and_a_day_to_the_former(self) -> None:
        given(a.tenant_created(), a.api_key_created()).when(a.rotate_api_key()).then(
            _replacing(), _replaced(a.AT + OVERLAP)
        )

    def test_goes_by_the_ends_that_are_named_and_never_beyond_that_of_the_former(self) -> None:
        soon, later = a.AT + timedelta(hours=1), a.AT + timedelta(days=30)

        given(a.tenant_created(), a.api_key_created(expires_at=soon)).when(
            a.rotate_api_key(overlap_until=later, expires_at=later)
        ).then(_replacing(expires_at=later), _replaced(soon))

    def test_refuses_what_has_ended_or_was_rotated_before(self) -> None:
        for ended in (a.api_key_revoked(), _replaced(a.AT + OVERLAP)):
            given(a.tenant_created(), a.api_key_created(), ended).when(a.rotate_api_key()).then_refused(ApiKeyEnded)
        given(a.tenant_created(), a.api_key_created(expires_at=a.AT)).when(a.rotate_api_key()).then_refused(ApiKeyEnded)

    def test_refuses_a_key_that_never_was_an_end_that_passed_and_a_role_above(self) -> None:
        made = given(a.tenant_created(), a.api_key_created(role="owner"))

        given(a.tenant_created()).when(a.rotate_api_key()).then_refused(ApiKeyUnknown)
        made.when(a.rotate_api_key(overlap_until=a.AT)).then_refused(ExpiryPassed, fields=("overlapUntil",))
        made.when(a.rotate_api_key(asked_by="admin")).then_refused(RoleAboveOwn)


def _replacing(**changes: Any) -> Fact:
    created = ApiKeyCreated(name="CI", secret_hash="cd" * 32, role="developer", replaces=a.KEY_ID, **changes)
    return Fact(API_KEY.stream(a.TENANT_ID, a.OTHER_TENANT_ID), created)


def _replaced(ends_at: datetime) -> Fact:
    event = ApiKeyReplaced(replaced_by=a.OTHER_TENANT_ID, ends_at=ends_at)
    return Fact(API_KEY.stream(a.TENANT_ID, a.KEY_ID), event)
