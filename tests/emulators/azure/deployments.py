"""Deployments of ARM templates into the customer's group: everything in them is made, or the first thing wrong is named."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from tests.emulators.azure.answers import Problem, not_found
from tests.emulators.azure.customer import DIRECTORY, GROUP, GROUP_PATH, LOCATION, SUBSCRIPTION, Customer
from tests.emulators.azure.expressions import Functions, evaluated
from tests.emulators.azure.resources import Resources
from tests.emulators.azure.routes import Answer, Call, Methods

# What of a resource in a template says where it is, and is not sent there.
_PLACE = frozenset({"type", "apiVersion", "name", "scope", "dependsOn"})


class Deployments:
    """Those that clients ask for; each is over when it is answered."""

    def __init__(self, customer: Customer) -> None:
        self._customer, self._made = customer, dict[str, dict[str, Any]]()
        self.methods: Methods = {"deployments.put": self._put, "deployments.get": self._get}

    def _put(self, call: Call) -> Answer:
        wanted = call.body["properties"]
        given = {name: one["value"] for name, one in wanted.get("parameters", {}).items()}
        outputs = Deployment(self._customer, wanted["template"], given).run()
        self._made[call.path.lower()] = {
            "id": call.path,
            "name": call.named["deployment_name"],
            "properties": {
                "mode": wanted["mode"],
                "provisioningState": "Succeeded",
                "outputs": {name: {"type": "String", "value": value} for name, value in outputs.items()},
            },
        }
        return Answer(self._made[call.path.lower()], 201)

    def _get(self, call: Call) -> Answer:
        if call.path.lower() not in self._made:
            raise not_found(call.path)
        return Answer(self._made[call.path.lower()])


class Deployment:
    """One deployment of a template. Raises Problem for what Azure does not take of it."""

    def __init__(self, customer: Customer, template: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
        self._customer, self._template, self._resources = customer, template, Resources(customer)
        self._given = dict(parameters)
        if "schemas/2019-04-01/deploymentTemplate.json" not in template.get("$schema", ""):
            raise _invalid("The schema is not that of a deployment of a group.")
        if unknown := self._given.keys() - template.get("parameters", {}).keys():
            raise _invalid(f"The template has no parameters {', '.join(sorted(unknown))}.")

    def run(self) -> dict[str, Any]:
        """Make everything; the outputs."""
        waiting = list(self._template["resources"])
        made: set[str] = set()
        while waiting:
            ready = [one for one in waiting if self._depends_on(one) <= made]
            if not ready:
                raise _invalid(f"What these depend on is not in the template: {[one['name'] for one in waiting]}")
            for one in ready:
                made.add(self._make(one).lower())
                waiting.remove(one)
        outputs: dict[str, Any] = evaluated(self._template.get("outputs", {}), self._functions)
        return {name: one["value"] for name, one in outputs.items()}

    def _depends_on(self, resource: Mapping[str, Any]) -> set[str]:
        return {str(one).lower() for one in evaluated(resource.get("dependsOn", []), self._functions)}

    def _make(self, resource: Mapping[str, Any]) -> str:
        found = evaluated({**resource, "dependsOn": []}, self._functions)
        path = _path(found["type"], found["name"], found.get("scope") or GROUP_PATH)
        body = {name: value for name, value in found.items() if name not in _PLACE}
        self._resources.put(path, found.get("apiVersion", ""), body)
        return path

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
            raise _invalid(f"The parameter {name} has no value.")
        value = self._given[name] if name in self._given else evaluated(described["defaultValue"], self._functions)
        if "allowedValues" in described and value not in described["allowedValues"]:
            raise _invalid(f"The parameter {name} must be one of {described['allowedValues']}.")
        return value


def _invalid(text: str) -> Problem:
    return Problem(400, "InvalidTemplate", f"Deployment template validation failed: {text}")


def _kind(words: tuple[str, ...]) -> str:
    return next(word for word in words if "/" in word)


def _path(kind: str, name: str, scope: str = GROUP_PATH) -> str:
    """`…/providers/A/b/x/c/y` of `A/b/c` and `x/y`."""
    namespace, *kinds = kind.split("/")
    pairs = [word for pair in zip(kinds, name.split("/"), strict=True) for word in pair]
    return f"{scope}/providers/{'/'.join([namespace, *pairs])}"
