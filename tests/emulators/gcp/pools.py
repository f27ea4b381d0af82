"""The commands about workload identity pools and their providers."""

from __future__ import annotations

import argparse
import json
from typing import TypeVar

from tests.emulators.gcp.account import Account, Pool, PoolProvider
from tests.emulators.gcp.answers import Refused
from tests.emulators.gcp.command_line import NotACommand, Parser, parsed

T = TypeVar("T", Pool, PoolProvider)


class Pools:
    """`files` is what lies in the customer's folder."""

    def __init__(self, account: Account, files: dict[str, str]) -> None:
        self._account, self._files = account, files

    def do(self, given: Parser, words: list[str]) -> None:
        """What follows `gcloud iam workload-identity-pools`. Raises Refused or NotACommand."""
        given.add_argument("name")
        match words:
            case ["create", *rest]:
                name = self._asked(given, rest).name
                _require(name not in self._account.pools, 409)
                self._account.pools[name] = Pool()
            case ["undelete", *rest]:
                _undelete(self._account.pools.get(self._asked(given, rest).name))
            case ["update", *rest]:
                given.add_argument("--disabled", action=argparse.BooleanOptionalAction)
                asked = self._asked(given, rest)
                pool = _there(self._account.pools.get(asked.name))
                pool.disabled = pool.disabled if asked.disabled is None else asked.disabled
            case ["providers", "undelete", *rest]:
                asked = self._asked(given, rest, "workload-identity-pool")
                _undelete(self._of(asked).get(asked.name))
            case ["providers", ("create-oidc" | "update-oidc") as verb, *rest]:
                self._put(given, rest, create=verb == "create-oidc")
            case _:
                raise NotACommand(" ".join(words))

    def _put(self, given: Parser, rest: list[str], *, create: bool) -> None:
        given.add_argument("--issuer-uri", required=create)
        given.add_argument("--attribute-mapping", required=create)
        given.add_argument("--allowed-audiences")
        given.add_argument("--attribute-condition")
        given.add_argument("--jwk-json-path")
        given.add_argument("--disabled", action=argparse.BooleanOptionalAction)
        asked = self._asked(given, rest, "workload-identity-pool")
        providers = self._of(asked)
        if create:
            _require(asked.name not in providers, 409)
            providers[asked.name] = PoolProvider(asked.issuer_uri, [], {})
        provider = _there(providers.get(asked.name))
        provider.issuer = asked.issuer_uri or provider.issuer
        if asked.attribute_mapping is not None:
            provider.mapping = dict(pair.split("=", 1) for pair in asked.attribute_mapping.split(","))
        if asked.allowed_audiences is not None:
            provider.audiences = [audience for audience in asked.allowed_audiences.split(",") if audience]
        if asked.attribute_condition is not None:
            provider.condition = asked.attribute_condition
        if asked.jwk_json_path is not None:
            provider.keys = json.loads(self._files[asked.jwk_json_path])
        if asked.disabled is not None:
            provider.disabled = asked.disabled

    def _asked(self, given: Parser, words: list[str], *required: str) -> argparse.Namespace:
        asked = parsed(given, words, "project", "location", *required)
        if asked.project not in (self._account.project, self._account.number) or asked.location != "global":
            raise Refused(403, f"The caller does not have permission on {asked.project}.")
        return asked

    def _of(self, asked: argparse.Namespace) -> dict[str, PoolProvider]:
        return _there(self._account.pools.get(asked.workload_identity_pool)).providers


def _undelete(found: Pool | PoolProvider | None) -> None:
    _require(found is not None, 404)
    assert found is not None
    _require(found.deleted, 400)
    found.deleted = False


def _there(found: T | None) -> T:
    """It, unless it is none, or deleted: what is deleted cannot be changed."""
    if found is None or found.deleted:
        raise Refused(404, "Requested entity was not found.")
    return found


def _require(holds: bool, otherwise: int) -> None:
    words = {400: "Precondition check failed.", 404: "Requested entity was not found."}
    if not holds:
        raise Refused(otherwise, words.get(otherwise, "Requested entity already exists"))
