"""What Azure says of rights: those of whoever asks, summed up at a place, who has which role there, and what roles hold."""

from __future__ import annotations

import re
from urllib.parse import unquote

from aiohttp import web

from tests.emulators.azure.answers import Problem, not_found
from tests.emulators.azure.customer import IDENTITY_TYPE, MANAGEMENT, SUBSCRIPTION, Customer
from tests.emulators.azure.roles import NAMES, ROLES
from tests.emulators.azure.routes import Answer

_RIGHTS = "/providers/microsoft.authorization/"
# What can be listed over all groups, and the version that says how.
_VERSIONS = {IDENTITY_TYPE: "2023-01-31", "Microsoft.Storage/storageAccounts": "2023-05-01"}
_FILTER = re.compile(r"principalId eq '([0-9a-f-]{36})'")


class Permissions:
    """Those of one customer. `slow` are the roles that were given and do not show yet."""

    def __init__(self, customer: Customer) -> None:
        self.customer, self.slow = customer, frozenset[str]()

    def answer(self, request: web.Request) -> Answer | None:
        """The answer to a question about rights, or about all identities or storage accounts; None to any other."""
        path = f"/{request.match_info['path']}".rstrip("/")
        scope, found, what = unquote(path).lower().rpartition(_RIGHTS)
        listed = next((kind for kind in _VERSIONS if path.lower() == _all_of(kind).lower()), "")
        if not found and not listed:
            return None
        if request.method != "GET" or request.query.get("api-version") != _VERSIONS.get(listed, "2022-04-01"):
            raise Problem(400, "InvalidApiVersionParameter")
        principal = self.customer.admit(request, MANAGEMENT)
        if not found:
            return self._all(listed, principal)
        return self._rights(request, principal, scope, what)

    def _rights(self, request: web.Request, principal: str, scope: str, what: str) -> Answer:
        kind, _, name = what.partition("/")
        if kind == "roledefinitions":
            return self._definition(name)
        if "/providers/" in scope:
            self.customer.found(scope)
        self.customer.require(principal, f"Microsoft.Authorization/{kind}/read", scope)
        match kind:
            case "permissions":
                return Answer({"value": [_shown(role) for role in self._held(principal, scope)]})
            case "roleassignments":
                wanted = _FILTER.fullmatch(request.query.get("$filter", ""))
                if wanted is None:
                    raise Problem(400, "InvalidFilter")
                return Answer({"value": self._assignments(wanted[1], scope)})
            case _:
                raise not_found(scope)

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

    def _definition(self, id: str) -> Answer:
        if id not in NAMES:
            raise Problem(404, "RoleDefinitionDoesNotExist")
        return Answer({"id": _definition_path(id), "properties": {"permissions": [_shown(NAMES[id])]}})

    def _all(self, kind: str, principal: str) -> Answer:
        """Those of the kind that the caller may read."""
        mine = [one for one in self.customer.resources.values() if one["type"] == kind]
        return Answer({"value": [one for one in mine if self.customer.may(principal, f"{kind}/read", one["id"])]})


def _all_of(kind: str) -> str:
    return f"/subscriptions/{SUBSCRIPTION}/providers/{kind}"


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
