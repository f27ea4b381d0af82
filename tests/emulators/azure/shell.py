"""The customer at a terminal: does what a line of `az` commands says, strictly, as the command line would."""

from __future__ import annotations

import argparse
import re
import shlex
from typing import Any, NoReturn

from tests.emulators.azure.customer import DIRECTORY, IDENTITY_TYPE, LOCATION, SUBSCRIPTION, Customer, path_of
from tests.emulators.azure.resources import Resources
from tests.emulators.azure.roles import ROLES
from tests.emulators.late import LateShell

_ACCOUNT = "Microsoft.Storage/storageAccounts"
_REGISTRY = "Microsoft.ContainerRegistry/registries"
# What a command leaves to the customer, and what this one chooses.
_CHOICE = ("--location … (with a region of your choice)", f"--location {LOCATION}")
# What the words make: its type, the version that it is made by, and what they have to say of it beside its place.
_MADE: dict[tuple[str, ...], tuple[str, str, tuple[str, ...]]] = {
    ("storage", "account", "create"): (
        _ACCOUNT,
        "2026-09-01",
        ("kind", "sku", "min-tls-version", "https-only", "allow-blob-public-access", "allow-shared-key-access"),
    ),
    ("acr", "create"): (_REGISTRY, "2023-07-01", ("sku", "admin-enabled")),
    ("containerapp", "env", "create"): ("Microsoft.App/managedEnvironments", "2026-07-01", ("logs-destination",)),
    ("identity", "create"): (IDENTITY_TYPE, "2024-11-30", ()),
}
_INNER = re.compile(r'"?\$\((az [^()]*(?:\([^()]*\)[^()]*)*)\)"?')
_OF_CLIENT = re.compile(r"\[\?clientId=='([0-9a-f-]+)'\]\.(name|resourceGroup)(?: \| \[0\])?")


class NotACommand(Exception):
    """`az` does not know it so, or it failed."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise NotACommand(message)


class Shell(LateShell):
    """What is done here is done as the owner of the subscription."""

    def __init__(self, customer: Customer) -> None:
        super().__init__()
        self._customer = customer

    def _run(self, words: str) -> None:
        """Do what the text says from its first `az` to the end of that line, choosing what is left to the customer.
        Raises NotACommand."""
        found = re.search(r"(?:^|\s)(az [a-z])", words)
        if found is None:
            raise NotACommand(f"there is no command in: {words}")
        line = words[found.start(1) :].partition("\n")[0].replace(*_CHOICE).strip()
        self._one(shlex.split(_INNER.sub(lambda inner: shlex.quote(self._one(shlex.split(inner[1]))), line)))

    def _one(self, words: list[str]) -> str:
        """What it prints."""
        match words:
            case ["az", "identity", "federated-credential", "create", *rest]:
                named = ("name", "identity-name", "resource-group", "issuer", "subject", "audiences", "subscription")
                self._trust(_parsed(rest, *named))
            case ["az", "identity", "list", *rest]:
                return self._listed(_parsed(rest, "query", "output", "subscription").query)
            case ["az", "identity", "show", *rest]:
                given = _parsed(rest, "ids", "query", "output")
                return str(self._customer.found(given.ids)["properties"][given.query])
            case ["az", "role", "assignment", "create", "--assignee-object-id", *rest]:
                given = _parsed(["--assignee", *rest], "assignee", "assignee-principal-type", "role", "scope")
                self._customer.grant(given.role, given.scope, to=given.assignee)
            case ["az", "role", "assignment", "create", *rest]:
                self._grant(_parsed(rest, "assignee", "role", "scope"))
            case ["az", "provider", "register", *rest]:
                given = _parsed(rest, "namespace", "subscription")
                self._customer.registered.add(given.namespace.lower())
            case ["az", "ad", "sp", "update", *rest, "--set", "accountEnabled=true"]:
                self._customer.disabled.discard(_parsed(rest, "id").id)
            case ["az", "storage", *rest]:
                return self._storage(rest)
            case ["az", "acr", "update", *rest]:
                given = _parsed(rest, "name", "public-network-enabled", "default-action", "subscription")
                self._customer.found(path_of(_REGISTRY, given.name))
                self._customer.closed_registries.discard(given.name)
            case ["az", "group", "create", *rest]:
                given = _parsed(rest, "name", "location", "subscription")
                self._customer.groups[given.name.lower()] = given.location
            case ["az", *_]:
                self._make(words[1:])
            case _:
                raise NotACommand(shlex.join(words))
        return ""

    def _storage(self, words: list[str]) -> str:
        match words:
            case ["account", "show", *rest]:
                given = _parsed(rest, "name", "query", "output", "subscription")
                return str(self._customer.found(path_of(_ACCOUNT, given.name))["id"])
            case ["account", "update", *rest]:
                given = _parsed(rest, "name", "public-network-access", "default-action", "subscription")
                self._customer.closed.discard(given.name)
            case ["container-rm", "create", *rest]:
                given = _parsed(rest, "storage-account", "name", "subscription")
                self._customer.found(path_of(_ACCOUNT, given.storage_account))
                self._customer.containers.add(given.name)
            case _:
                self._make(["storage", *words])
        return ""

    def _make(self, words: list[str]) -> None:
        """Make a resource, held against Microsoft's models."""
        known = next((one for one in _MADE if tuple(words[: len(one)]) == one), None)
        if known is None:
            raise NotACommand(shlex.join(words))
        kind, version, flags = _MADE[known]
        given = _parsed(words[len(known) :], "name", "resource-group", "subscription", *flags)
        if given.resource_group.lower() not in self._customer.groups:
            raise NotACommand(f"there is no group {given.resource_group}")
        body: dict[str, Any] = {"location": self._customer.groups[given.resource_group.lower()]}
        if "sku" in flags:
            body["sku"] = {"name": given.sku}
        if "kind" in flags:
            body["kind"] = given.kind
            body["properties"] = {"allowSharedKeyAccess": given.allow_shared_key_access == "true"}
        Resources(self._customer).put(path_of(kind, given.name), version, body)

    def _trust(self, given: argparse.Namespace) -> None:
        known = next(
            (one for one in self._customer.identities.values() if one.path.endswith(f"/{given.identity_name}")), None
        )
        if known is None:
            raise NotACommand(f"there is no identity {given.identity_name}")
        known.trusts[given.name] = (given.issuer, given.subject)
        known.audiences[given.name] = [given.audiences]

    def _listed(self, query: str) -> str:
        wanted = _OF_CLIENT.fullmatch(query)
        if wanted is None:
            raise NotACommand(f"the query is not understood: {query}")
        found = [one.path for one in self._customer.identities.values() if one.client_id == wanted[1]]
        return "\n".join(path.split("/")[8 if wanted[2] == "name" else 4] for path in found)

    def _grant(self, given: Any) -> None:
        known = next((one for one in self._customer.identities.values() if one.client_id == given.assignee), None)
        if known is None or given.role not in ROLES:
            raise NotACommand(f"there is no {given.assignee} in {DIRECTORY}, or no role {given.role}")
        if not given.scope.lower().startswith(f"/subscriptions/{SUBSCRIPTION}"):
            raise NotACommand(f"{given.scope} is none of the customer's")
        self._customer.grant(given.role, given.scope, to=known.principal_id)


def _parsed(words: list[str], *required: str) -> argparse.Namespace:
    parser = _Parser(prog="az")
    for name in required:
        parser.add_argument(f"--{name}", required=True)
    given = parser.parse_args(words)
    if getattr(given, "subscription", SUBSCRIPTION) != SUBSCRIPTION:
        raise NotACommand(f"there is no subscription {given.subscription}")
    return given
