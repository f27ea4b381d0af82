"""The customer at a terminal: does what a line of `gcloud` commands says, strictly, as a shell would."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

import httpx

from tests.emulators.gcp.account import Account, Policy
from tests.emulators.gcp.answers import Refused
from tests.emulators.gcp.cluster_commands import ClusterCommands
from tests.emulators.gcp.command_line import NotACommand, Parser, parsed
from tests.emulators.gcp.pools import Pools
from tests.emulators.late import LateShell

BILLING_ACCOUNT = "012345-6789AB-CDEF01"


class Shell(LateShell):
    """`make_bucket` and `make_repository` do what is not the account's own."""

    def __init__(
        self,
        account: Account,
        make_bucket: Callable[[str], None],
        make_repository: Callable[[str, str, str], None],
        clusters: ClusterCommands,
    ) -> None:
        super().__init__()
        self._clusters = clusters
        self._files: dict[str, str] = {}
        self._pools = Pools(account, self._files)
        self._account, self._make_bucket, self._make_repository = account, make_bucket, make_repository

    def _run(self, words: str) -> None:
        """Do what the text says from its first command on. Raises NotACommand."""
        begins = re.search(r"\b(gcloud|kubectl|curl) ", words)
        if begins is None:
            raise NotACommand(f"there is no command in: {words}")
        line = self._substituted(words[begins.start() :].strip())
        succeeded, connector = True, ";"
        for part in re.split(r"\s*(&&|\|\||;)\s+", line):
            if part in ("&&", "||", ";"):
                connector = part
            elif connector == ";" or (connector == "&&") == succeeded:
                succeeded = self._attempt(part)
        if not succeeded:
            raise NotACommand(f"this did not succeed: {line}")

    def _substituted(self, line: str) -> str:
        """The line with what the commands in `$(…)` print in their places."""
        while (start := line.find("$(")) >= 0:
            depth, end = 1, start + 2
            while depth:
                depth += {"(": 1, ")": -1}.get(line[end], 0)
                end += 1
            line = line[:start] + self._printed(shlex.split(line[start + 2 : end - 1])) + line[end:]
        return line

    def _printed(self, words: list[str]) -> str:
        match words:
            case [
                "gcloud",
                "billing",
                "accounts",
                "list",
                "--filter=open=true",
                "--limit=1",
                "--format=value(name.basename())",
            ]:
                return BILLING_ACCOUNT
            case ["gcloud", "projects", "describe", project, "--format=value(projectNumber)"]:
                self._check_project(project)
                return self._account.number
            case _:
                raise NotACommand(shlex.join(words))

    def _attempt(self, command: str) -> bool:
        try:
            self._one(shlex.split(command))
        except Refused:
            return False
        return True

    def _one(self, words: list[str]) -> None:
        given = Parser(prog=" ".join(words[:5]))
        match words:
            case ["gcloud", "iam", "service-accounts", "create", *rest]:
                given.add_argument("name")
                self._create_service_account(parsed(given, rest, "project").name)
            case ["gcloud", "iam", "service-accounts", "add-iam-policy-binding", *rest]:
                given.add_argument("email")
                asked = parsed(given, rest, "project", "role", "member")
                self._account.service_account(asked.email).add(asked.role, self._member(asked.member))
            case ["gcloud", "iam", "workload-identity-pools", *rest]:
                self._pools.do(given, rest)
            case ["gcloud", "billing", "projects", "link", *rest]:
                given.add_argument("project")
                asked = parsed(given, rest, "billing-account")
                self._check_project(asked.project)
                if asked.billing_account != BILLING_ACCOUNT:
                    raise Refused(404, "Requested entity was not found.")
                self._account.unbilled.clear()
            case ["curl", *rest]:
                self._fetch(given, rest)
            case ["gcloud", "projects", "add-iam-policy-binding", *rest]:
                given.add_argument("project")
                given.add_argument("--condition", choices=["None"])
                asked = parsed(given, rest, "role", "member")
                self._check_project(asked.project)
                self._account.policy_of(f"projects/{asked.project}").add(asked.role, self._member(asked.member))
            case ["gcloud", "services", "enable", *rest]:
                given.add_argument("names", nargs="+")
                names = parsed(given, rest, "project").names
                self._account.apis |= {name.removesuffix(".googleapis.com") for name in names}
            case ["gcloud", "storage", "buckets", "create", *rest]:
                given.add_argument("url")
                given.add_argument("--uniform-bucket-level-access", action="store_true")
                self._make_bucket(parsed(given, rest, "project", "location").url.removeprefix("gs://"))
            case ["gcloud", "storage", "buckets", "add-iam-policy-binding", *rest]:
                given.add_argument("url")
                asked = parsed(given, rest, "member", "role")
                self._bucket(asked.url).add(asked.role, self._member(asked.member))
            case _:
                self._about_images(given, words)

    def _about_images(self, given: Parser, words: list[str]) -> None:
        match words:
            case ["gcloud", "artifacts", "repositories", "create", *rest]:
                given.add_argument("name")
                asked = parsed(given, rest, "project", "location", "repository-format")
                self._check_project(asked.project)
                self._make_repository(asked.location, asked.name, asked.project)
            case ["gcloud", "artifacts", "repositories", "add-iam-policy-binding", *rest]:
                given.add_argument("name")
                asked = parsed(given, rest, "project", "location", "member", "role")
                full = f"projects/{asked.project}/locations/{asked.location}/repositories/{asked.name}"
                self._account.repositories[full].add(asked.role, self._member(asked.member))
            case _:
                self._clusters.do(given, words)

    def _create_service_account(self, name: str) -> None:
        email = f"{name}@{self._account.project}.iam.gserviceaccount.com"
        if email in self._account.service_accounts:
            raise Refused(409, f"Service account {name} already exists within project.")
        self._account.service_accounts[email] = Policy()

    def _fetch(self, given: Parser, words: list[str]) -> None:
        given.add_argument("url")
        given.add_argument("--output", required=True)
        for flag in ("--fail", "--silent", "--show-error"):
            given.add_argument(flag, action="store_true")
        asked = given.parse_args(words)
        self._files[asked.output] = httpx.get(asked.url).raise_for_status().text

    def _bucket(self, url: str) -> Policy:
        try:
            return self._account.buckets[url.removeprefix("gs://")]
        except KeyError:
            raise Refused(404, f"{url} not found: 404.") from None

    def _check_project(self, named: str) -> None:
        if named not in (self._account.project, self._account.number, *self._account.others):
            raise Refused(403, f"The caller does not have permission on {named}.")

    def _member(self, member: str) -> str:
        kind, _, rest = member.partition(":")
        if member in (self._account.run_agent, self._account.nodes_agent):
            return member
        if kind == "serviceAccount":
            self._account.service_account(rest)
        elif kind not in ("principal", "principalSet") or not rest.startswith(
            f"//iam.googleapis.com/projects/{self._account.number}/"
        ):
            raise Refused(400, f"Invalid member {member}.")
        return member
