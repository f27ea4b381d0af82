"""The customer at a terminal: does what a line of `gcloud` commands says, strictly, as a shell would."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable
from typing import NoReturn

from tests.emulators.gcp.account import Account, Policy, PoolProvider
from tests.emulators.gcp.answers import Refused
from tests.emulators.gcp.clusters import Clusters
from tests.emulators.late import LateShell


class NotACommand(Exception):
    """`gcloud` does not know it so, or it failed."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise NotACommand(message)


class Shell(LateShell):
    """`make_bucket` and `make_repository` do what is not the account's own."""

    def __init__(
        self,
        account: Account,
        make_bucket: Callable[[str], None],
        make_repository: Callable[[str, str], None],
        clusters: Clusters,
    ) -> None:
        super().__init__()
        self._clusters = clusters
        self._account, self._make_bucket, self._make_repository = account, make_bucket, make_repository

    def _run(self, words: str) -> None:
        """Do what the text says from its first `gcloud` or `kubectl` on. Raises NotACommand."""
        begins = re.search(r"\b(gcloud|kubectl) ", words)
        if begins is None:
            raise NotACommand(f"there is no command in: {words}")
        line = words[begins.start() :].strip()
        succeeded, connector = True, ""
        for part in re.split(r"\s+(&&|\|\|)\s+", line):
            if part in ("&&", "||"):
                connector = part
            elif connector == "" or (connector == "&&") == succeeded:
                succeeded = self._attempt(part)
        if not succeeded:
            raise NotACommand(f"this did not succeed: {line}")

    def _attempt(self, command: str) -> bool:
        try:
            self._one(shlex.split(command))
        except Refused:
            return False
        return True

    def _one(self, words: list[str]) -> None:
        given = _Parser(prog=" ".join(words[:5]))
        match words:
            case ["gcloud", "iam", "service-accounts", "create", *rest]:
                given.add_argument("name")
                self._create_service_account(_parsed(given, rest, "project").name)
            case ["gcloud", "iam", "service-accounts", "add-iam-policy-binding", *rest]:
                given.add_argument("email")
                asked = _parsed(given, rest, "project", "role", "member")
                self._account.service_account(asked.email).add(asked.role, self._member(asked.member))
            case ["gcloud", "iam", "workload-identity-pools", "describe", *rest]:
                given.add_argument("pool")
                if _parsed(given, rest, "project", "location").pool not in self._account.pools:
                    raise Refused(404, "Requested entity was not found.")
            case ["gcloud", "iam", "workload-identity-pools", "create", *rest]:
                given.add_argument("pool")
                self._create_pool(_parsed(given, rest, "project", "location"))
            case [
                "gcloud",
                "iam",
                "workload-identity-pools",
                "providers",
                ("create-oidc" | "update-oidc") as verb,
                *rest,
            ]:
                self._put_provider(given, rest, create=verb == "create-oidc")
            case ["gcloud", "projects", "add-iam-policy-binding", *rest]:
                given.add_argument("project")
                given.add_argument("--condition", choices=["None"])
                asked = _parsed(given, rest, "role", "member")
                self._check_project(asked.project)
                self._account.policy.add(asked.role, self._member(asked.member))
            case ["gcloud", "services", "enable", *rest]:
                given.add_argument("names", nargs="+")
                names = _parsed(given, rest, "project").names
                self._account.apis |= {name.removesuffix(".googleapis.com") for name in names}
            case ["gcloud", "storage", "buckets", "create", *rest]:
                given.add_argument("url")
                given.add_argument("--uniform-bucket-level-access", action="store_true")
                given.add_argument("--location")
                self._make_bucket(_parsed(given, rest, "project").url.removeprefix("gs://"))
            case ["gcloud", "storage", "buckets", "add-iam-policy-binding", *rest]:
                given.add_argument("url")
                asked = _parsed(given, rest, "member", "role")
                self._bucket(asked.url).add(asked.role, self._member(asked.member))
            case ["gcloud", "artifacts", "repositories", "create", *rest]:
                given.add_argument("name")
                asked = _parsed(given, rest, "project", "location", "repository-format")
                self._make_repository(asked.location, asked.name)
            case _:
                self._about_clusters(given, words)

    def _about_clusters(self, given: _Parser, words: list[str]) -> None:
        match words:
            case ["gcloud", "container", "clusters", "update", *rest]:
                given.add_argument("name")
                given.add_argument("--update-labels", default="")
                given.add_argument("--enable-dns-access", action="store_true")
                asked = _parsed(given, rest, "project", "location")
                self._check_project(asked.project)
                cluster = self._clusters.named(asked.name, asked.location)
                cluster.labels.update(one.split("=") for one in asked.update_labels.split(",") if one)
                cluster.has_name = cluster.has_name or asked.enable_dns_access
            case ["kubectl", "create", "namespace", name]:
                for cluster in self._clusters.there:
                    cluster.namespaces.add(name)
            case _:
                raise NotACommand(shlex.join(words))

    def _create_service_account(self, name: str) -> None:
        email = f"{name}@{self._account.project}.iam.gserviceaccount.com"
        if email in self._account.service_accounts:
            raise Refused(409, f"Service account {name} already exists within project.")
        self._account.service_accounts[email] = Policy()

    def _create_pool(self, asked: argparse.Namespace) -> None:
        self._check_project(asked.project)
        if asked.pool in self._account.pools:
            raise Refused(409, "Requested entity already exists")
        self._account.pools[asked.pool] = {}

    def _put_provider(self, given: argparse.ArgumentParser, rest: list[str], *, create: bool) -> None:
        given.add_argument("name")
        given.add_argument("--issuer-uri", required=True)
        given.add_argument("--attribute-mapping", required=True)
        given.add_argument("--allowed-audiences")
        given.add_argument("--attribute-condition", default="")
        asked = _parsed(given, rest, "project", "location", "workload-identity-pool")
        self._check_project(asked.project)
        pool = self._account.pools.get(asked.workload_identity_pool)
        if pool is None or (asked.name in pool) == create:
            raise Refused(409 if create and pool is not None else 404, "Requested entity was not found, or exists.")
        mapping = dict(pair.split("=", 1) for pair in asked.attribute_mapping.split(","))
        audiences = [audience for audience in (asked.allowed_audiences or "").split(",") if audience]
        if not create and asked.allowed_audiences is None:
            audiences = pool[asked.name].audiences
        pool[asked.name] = PoolProvider(asked.issuer_uri, audiences, mapping, asked.attribute_condition)

    def _bucket(self, url: str) -> Policy:
        try:
            return self._account.buckets[url.removeprefix("gs://")]
        except KeyError:
            raise Refused(404, f"{url} not found: 404.") from None

    def _check_project(self, named: str) -> None:
        if named not in (self._account.project, self._account.number):
            raise Refused(403, f"The caller does not have permission on {named}.")

    def _member(self, member: str) -> str:
        kind, _, rest = member.partition(":")
        if kind == "serviceAccount":
            self._account.service_account(rest)
        elif kind not in ("principal", "principalSet") or not rest.startswith(
            f"//iam.googleapis.com/projects/{self._account.number}/"
        ):
            raise Refused(400, f"Invalid member {member}.")
        return member


def _parsed(parser: argparse.ArgumentParser, words: list[str], *required: str) -> argparse.Namespace:
    for name in required:
        parser.add_argument(f"--{name}", required=True)
    return parser.parse_args([word for word in words if word not in (">/dev/null", "2>&1", "2>/dev/null")])
