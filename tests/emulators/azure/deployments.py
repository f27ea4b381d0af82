"""Deployments of ARM templates into the customer's group: everything in them is made, or the first thing wrong is named."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from azure.mgmt.appcontainers.models import ManagedEnvironment
from azure.mgmt.containerregistry.v2023_07_01.models import Registry

from tests.emulators.azure.customer import (
    DIRECTORY,
    GROUP,
    GROUP_PATH,
    IDENTITY_TYPE,
    LOCATION,
    SUBSCRIPTION,
    Customer,
    path_of,
)
from tests.emulators.azure.expressions import Functions, evaluated
from tests.emulators.azure.models import misfits
from tests.emulators.azure.roles import NAMES

_MODELS = {"Microsoft.ContainerRegistry/registries": Registry, "Microsoft.App/managedEnvironments": ManagedEnvironment}


class DeploymentFailed(Exception):
    """The template is not one that Azure takes, or what it makes is not."""


class Deployment:
    """One deployment of a template."""

    def __init__(self, customer: Customer, template: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
        self._customer, self._template = customer, template
        self._given = dict(parameters)
        if "schemas/2019-04-01/deploymentTemplate.json" not in template.get("$schema", ""):
            raise DeploymentFailed("The schema is not that of a deployment of a group.")
        if unknown := self._given.keys() - template.get("parameters", {}).keys():
            raise DeploymentFailed(f"The template has no parameters {', '.join(sorted(unknown))}.")

    def run(self) -> dict[str, Any]:
        """Make everything; the outputs."""
        waiting = list(self._template["resources"])
        made: set[str] = set()
        while waiting:
            ready = [one for one in waiting if self._depends_on(one) <= made]
            if not ready:
                raise DeploymentFailed(
                    f"What these depend on is not in the template: {[one['name'] for one in waiting]}"
                )
            for one in ready:
                made.add(self._make(one).lower())
                waiting.remove(one)
        outputs: dict[str, Any] = evaluated(self._template.get("outputs", {}), self._functions)
        return {name: one["value"] for name, one in outputs.items()}

    def _depends_on(self, resource: Mapping[str, Any]) -> set[str]:
        return {str(one).lower() for one in evaluated(resource.get("dependsOn", []), self._functions)}

    def _make(self, resource: Mapping[str, Any]) -> str:
        found = evaluated({**resource, "dependsOn": []}, self._functions)
        kind, name, properties = found["type"], found["name"], found.get("properties", {})
        if "apiVersion" not in found:
            raise DeploymentFailed(f"{kind} has no apiVersion.")
        match kind:
            case "Microsoft.Authorization/roleAssignments":
                return self._assign(found)
            case "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials":
                identity, _, credential = name.partition("/")
                known = self._customer.identities[path_of(IDENTITY_TYPE, identity).lower()]
                known.trusts[credential] = (properties["issuer"], properties["subject"])
                known.audiences[credential] = properties["audiences"]
            case "Microsoft.Storage/storageAccounts/blobServices/containers":
                self._customer.containers.add(name.split("/")[2])
            case "Microsoft.Storage/storageAccounts/blobServices":
                pass
            case _:
                self._make_whole(kind, name, found, properties)
        return _path(kind, name)

    def _make_whole(self, kind: str, name: str, found: Mapping[str, Any], properties: dict[str, Any]) -> None:
        rest = {key: found[key] for key in ("sku", "kind", "tags", "identity") if key in found}
        if (model := _MODELS.get(kind)) is not None:
            body = {**rest, "location": found["location"], "properties": properties}
            if wrong := misfits(body, model):
                raise DeploymentFailed(f"{name}: {'; '.join(wrong)}")
        if kind == "Microsoft.ContainerRegistry/registries":
            properties = {**properties, "loginServer": f"{name.lower()}.azurecr.io"}
        if kind == "Microsoft.App/managedEnvironments":
            properties = {**properties, "defaultDomain": f"happysea-1a2b3c4d.{LOCATION}.azurecontainerapps.io"}
        self._customer.make(kind, name, properties, **rest)

    def _assign(self, found: Mapping[str, Any]) -> str:
        properties = found["properties"]
        role = properties["roleDefinitionId"].rpartition("/")[2]
        if role not in NAMES:
            raise DeploymentFailed(f"There is no role {role}.")
        scope = found.get("scope") or GROUP_PATH
        self._customer.grant(
            NAMES[role],
            scope if scope.startswith("/") else f"{GROUP_PATH}/providers/{scope}",
            to=properties["principalId"],
        )
        return _path(found["type"], found["name"])

    @property
    def _functions(self) -> Functions:
        return {
            "parameters": self._parameter,
            "variables": lambda name: evaluated(self._template["variables"][name], self._functions),
            "resourcegroup": lambda: {"id": GROUP_PATH, "name": GROUP, "location": LOCATION},
            "subscription": lambda: {
                "id": f"/subscriptions/{SUBSCRIPTION}",
                "subscriptionId": SUBSCRIPTION,
                "tenantId": DIRECTORY,
            },
            "tenant": lambda: {"tenantId": DIRECTORY},
            "resourceid": lambda *words: _path(_kind(words), "/".join(words[words.index(_kind(words)) + 1 :])),
            "subscriptionresourceid": lambda kind, *names: (
                f"/subscriptions/{SUBSCRIPTION}/providers/{kind}/{names[-1]}"
            ),
            "reference": lambda path, *_: self._customer.found(path)["properties"],
            "guid": lambda *words: str(uuid5(NAMESPACE_URL, "-".join(words))),
            "uniquestring": lambda *words: hashlib.sha256("-".join(words).encode()).hexdigest()[:13],
            "concat": lambda *words: "".join(words),
            "format": lambda text, *words: text.format(*words),
            "tolower": str.lower,
            "replace": str.replace,
            "take": lambda text, count: text[:count],
            "if": lambda wanted, yes, no: yes if wanted else no,
            "equals": lambda one, other: one == other,
            "empty": lambda one: not one,
            "not": lambda one: not one,
            "last": lambda one: one[-1],
            "split": str.split,
            "true": lambda: True,
            "false": lambda: False,
        }

    def _parameter(self, name: str) -> Any:
        described = self._template["parameters"][name]
        if name not in self._given and "defaultValue" not in described:
            raise DeploymentFailed(f"The parameter {name} has no value.")
        value = self._given[name] if name in self._given else evaluated(described["defaultValue"], self._functions)
        if "allowedValues" in described and value not in described["allowedValues"]:
            raise DeploymentFailed(f"The parameter {name} must be one of {described['allowedValues']}.")
        return value


def _kind(words: tuple[str, ...]) -> str:
    return next(word for word in words if "/" in word)


def _path(kind: str, name: str) -> str:
    """`…/providers/A/b/x/c/y` of `A/b/c` and `x/y`."""
    namespace, *kinds = kind.split("/")
    pairs = [word for pair in zip(kinds, name.split("/"), strict=True) for word in pair]
    return f"{GROUP_PATH}/providers/{'/'.join([namespace, *pairs])}"
