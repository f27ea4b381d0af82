"""Templates before the emulator: what they make is held against Microsoft's models, thing by thing, as requests are."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from providers.azure.templates import Names, identity_template, resources_template
from tests.emulators.azure.answers import Problem
from tests.emulators.azure.customer import GROUP, LOCATION, Customer
from tests.emulators.azure.deployments import Deployment

IDENTITY = identity_template("dcf-p", "https://dcf.example", "tenant:t:project:p")
RESOURCES = resources_template(
    Names(
        identity="dcf-p",
        account="acmefiles",
        container="dcf",
        registry="acmeimages",
        environment="acme",
        pull_identity="dcf-pull",
    )
)
KINDS = {one["type"]: template for template in (IDENTITY, RESOURCES) for one in template["resources"]}
_ACCOUNT, _ASSIGNMENT = "Microsoft.Storage/storageAccounts", "Microsoft.Authorization/roleAssignments"
_IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities"
_TRUST, _CONTAINER = f"{_IDENTITY}/federatedIdentityCredentials", f"{_ACCOUNT}/blobServices/containers"


def _deploy(*templates: dict[str, Any]) -> Customer:
    customer = Customer()
    customer.groups[GROUP] = LOCATION
    for template in templates:
        Deployment(customer, template, {}).run()
    return customer


def _changed(kind: str, change: Callable[[dict[str, Any]], object]) -> Problem:
    """How the templates are refused when one thing of this kind is otherwise."""
    templates = deepcopy([IDENTITY, RESOURCES])
    change(next(one for template in templates for one in template["resources"] if one["type"] == kind))
    with pytest.raises(Problem) as refused:
        _deploy(*templates)
    return refused.value


def test_the_services_own_are_taken() -> None:
    customer = _deploy(IDENTITY, RESOURCES)

    assert {made["type"] for made in customer.resources.values()} == {
        *(_ACCOUNT, _IDENTITY),
        *("Microsoft.ContainerRegistry/registries", "Microsoft.App/managedEnvironments"),
    }
    assert customer.containers == {"dcf"}
    assert len(customer.assignments) == len(
        [one for template in (IDENTITY, RESOURCES) for one in template["resources"] if one["type"] == _ASSIGNMENT]
    )


@pytest.mark.parametrize("kind", KINDS)
class TestOfEachKind:
    def test_a_field_that_there_is_not_is_named(self, kind: str) -> None:
        refused = _changed(kind, lambda one: one.setdefault("properties", {}).update(colour="red"))

        assert "properties.colour is not known" in refused.message

    def test_another_version_than_the_models_are_of_is_refused(self, kind: str) -> None:
        refused = _changed(kind, lambda one: one.update(apiVersion="2020-01-01"))

        assert refused.code == "InvalidApiVersionParameter"

    def test_a_kind_that_there_is_not_is_refused(self, kind: str) -> None:
        assert _changed(kind, lambda one: one.update(type=f"{kind}z")).code == "InvalidResourceType"


@pytest.mark.parametrize(
    ("kind", "change", "told"),
    [
        (_ACCOUNT, lambda one: one.pop("sku"), "sku is missing"),
        (_ACCOUNT, lambda one: one.update(kind="StorageV3"), "kind must be one of"),
        (_ACCOUNT, lambda one: one["properties"].update(minimumTlsVersion="1.2"), "minimumTlsVersion must be one of"),
        (_ACCOUNT, lambda one: one["properties"].update(allowSharedKeyAccess="false"), "must be of type bool"),
        (_CONTAINER, lambda one: one["properties"].update(publicAccess="Nobody"), "publicAccess must be one of"),
        (_IDENTITY, lambda one: one.pop("location"), "location is missing"),
        (_IDENTITY, lambda one: one.update(properties={"clientId": "me"}), "clientId is Azure's to say"),
        (_TRUST, lambda one: one["properties"].update(audiences="api://x"), "audiences must be a list"),
        (_TRUST, lambda one: one.update(name="dcf-p/a b"), "must match"),
        (_ASSIGNMENT, lambda one: one["properties"].pop("principalId"), "principalId is missing"),
        (_ASSIGNMENT, lambda one: one.pop("properties"), "properties is missing"),
        (_ASSIGNMENT, lambda one: one["properties"].update(principalType="Robot"), "principalType must be one of"),
        (_ASSIGNMENT, lambda one: one["properties"].update(scope="/"), "scope is Azure's to say"),
        (_ASSIGNMENT, lambda one: one.update(name="reader"), "'reader' is not valid"),
    ],
)
def test_what_the_models_do_not_take_is_named(kind: str, change: Callable[[dict[str, Any]], object], told: str) -> None:
    assert told in _changed(kind, change).message
