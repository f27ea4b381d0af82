"""What Azure says of rights: those of whoever asks, summed up at a place, who has which role there, and what roles hold."""

from __future__ import annotations

import re

from tests.emulators.azure.answers import Problem
from tests.emulators.azure.customer import SUBSCRIPTION, Customer
from tests.emulators.azure.roles import NAMES, ROLES
from tests.emulators.azure.routes import Answer, Call, Methods

_RIGHTS = "/providers/microsoft.authorization/"
_FILTER = re.compile(r"principalId eq '([0-9a-f-]{36})'")


class Permissions:
    """Those of one customer. `slow` are the roles that were given and do not show yet."""

    def __init__(self, customer: Customer) -> None:
        self.customer, self.slow = customer, frozenset[str]()
        self.methods: Methods = {
            "rights.permissions": self._permissions,
            "rights.assignments": self._assigned,
            "rights.definition": self._definition,
            "everywhere.list": self._all,
        }

    def _permissions(self, call: Call) -> Answer:
        scope = self._scope(call)
        return Answer({"value": [_shown(role) for role in self._held(call.principal, scope)]})

    def _assigned(self, call: Call) -> Answer:
        scope = self._scope(call)
        wanted = _FILTER.fullmatch(call.query.get("$filter", ""))
        if wanted is None:
            raise Problem(400, "InvalidFilter")
        return Answer({"value": self._assignments(wanted[1], scope)})

    def _scope(self, call: Call) -> str:
        """Where it is asked about. Raises Problem where nothing is, or whoever asks may not look."""
        # The SDK leaves a second slash where nothing is above the resource.
        scope, _, what = call.path.lower().replace("//", "/").rpartition(_RIGHTS)
        if "/providers/" in scope:
            self.customer.found(scope)
        self.customer.require(call.principal, f"Microsoft.Authorization/{what}/read", scope)
        return scope

    def _held(self, principal: str, scope: str) -> list[str]:
        place = f"{scope}/"
        return [
            role
            for who, role, at in sorted(self.customer.assignments)
            if who == principal and place.startswith(f"{at}/") and role not in self.slow
        ]

    def _assignments(self, principal: str, scope: str) -> list[dict[str, object]]:
        """At the place, above it and below it."""
        return [
            {
                "properties": {
                    "principalId": who,
                    "roleDefinitionId": _definition_path(ROLES[role].id),
                    "scope": at,
                }
            }
            for who, role, at in sorted(self.customer.assignments)
            if who == principal and (f"{scope}/".startswith(f"{at}/") or at.startswith(f"{scope}/"))
        ]

    def _definition(self, call: Call) -> Answer:
        id = call.named["role_definition_id"]
        if id not in NAMES:
            raise Problem(404, "RoleDefinitionDoesNotExist")
        return Answer({"id": _definition_path(id), "properties": {"permissions": [_shown(NAMES[id])]}})

    def _all(self, call: Call) -> Answer:
        """Those of the kind that the caller may read, in all groups."""
        kind = call.path.partition("/providers/")[2]
        mine = [one for one in self.customer.resources.values() if one["type"].lower() == kind.lower()]
        return Answer({"value": [one for one in mine if self.customer.may(call.principal, f"{kind}/read", one["id"])]})


def _definition_path(id: str) -> str:
    return f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/{id}"


def _shown(role: str) -> dict[str, list[str]]:
    held = ROLES[role]
    return {
        "actions": list(held.actions),
        "notActions": [],
        "dataActions": list(held.data),
        "notDataActions": [],
    }
