"""The customer at a terminal: does what a line of `az` commands says, strictly, as the command line would."""

from __future__ import annotations

import argparse
import re
import shlex
from typing import Any, NoReturn

from tests.emulators.azure.customer import DIRECTORY, SUBSCRIPTION, Customer, path_of
from tests.emulators.azure.roles import ROLES
from tests.emulators.late import LateShell

_ACCOUNT = "Microsoft.Storage/storageAccounts"
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
        """Do what the text says from its first `az` on. Raises NotACommand."""
        found = re.search(r"(?:^|\s)(az [a-z])", words)
        if found is None:
            raise NotACommand(f"there is no command in: {words}")
        line = words[found.start(1) :].strip()
        self._one(shlex.split(_INNER.sub(lambda inner: shlex.quote(self._one(shlex.split(inner[1]))), line)))

    def _one(self, words: list[str]) -> str:
        """What it prints."""
        match words:
            case ["az", "identity", "federated-credential", "create", *rest]:
                given = _parsed(rest, "name", "identity-name", "resource-group", "issuer", "subject", "audiences")
                self._trust(given)
                return ""
            case ["az", "identity", "list", *rest]:
                return self._listed(_parsed(rest, "query", "output", "subscription").query)
            case ["az", "role", "assignment", "create", "--assignee-object-id", *rest]:
                given = _parsed(["--assignee", *rest], "assignee", "assignee-principal-type", "role", "scope")
                self._customer.grant(given.role, given.scope, to=given.assignee)
                return ""
            case ["az", "role", "assignment", "create", *rest]:
                self._grant(_parsed(rest, "assignee", "role", "scope"))
                return ""
            case ["az", "provider", "register", *rest]:
                given = _parsed(rest, "namespace", "subscription")
                self._customer.registered.add(given.namespace.lower())
                return ""
            case ["az", "storage", "account", "show", *rest]:
                given = _parsed(rest, "name", "query", "output")
                return str(self._customer.found(path_of(_ACCOUNT, given.name))["id"])
            case ["az", "storage", "account", "update", *rest]:
                given = _parsed(rest, "name", "public-network-access", "default-action")
                self._customer.closed.discard(given.name)
                return ""
            case ["az", "storage", "container-rm", "create", *rest]:
                given = _parsed(rest, "storage-account", "name")
                self._customer.found(path_of(_ACCOUNT, given.storage_account))
                self._customer.containers.add(given.name)
                return ""
            case _:
                raise NotACommand(shlex.join(words))

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
    return parser.parse_args(words)
