"""A customer's project in Google Cloud: its service accounts, who may do what, and the tokens that were given out."""

from __future__ import annotations

import re
import secrets
import time
from collections import defaultdict
from typing import Any

import msgspec

from tests.emulators.gcp.answers import Refused, denied, disabled, unbilled
from tests.emulators.gcp.roles import ROLES

APIS = (
    "run",
    "cloudbuild",
    "sts",
    "iamcredentials",
    "artifactregistry",
    "cloudscheduler",
    "container",
    "secretmanager",
    "cloudkms",
    "logging",
    "cloudresourcemanager",
    "iam",
    "storage",
)
TOKEN_SECONDS = 3600
_PROJECT = re.compile(r"projects/([^/:]+)")


class PoolProvider(msgspec.Struct):
    """What a workload identity provider trusts."""

    issuer: str
    audiences: list[str]
    mapping: dict[str, str]
    condition: str = ""
    keys: dict[str, Any] | None = None  # Handed over: then the issuer's are not fetched.
    disabled: bool = False
    deleted: bool = False


class Pool(msgspec.Struct):
    """Its providers by name. For thirty days a deleted one keeps its name, and can be had back."""

    providers: dict[str, PoolProvider] = {}
    disabled: bool = False
    deleted: bool = False


class Policy:
    """Who has which role on one resource."""

    def __init__(self) -> None:
        self.bindings: dict[str, set[str]] = defaultdict(set)

    def allows(self, member: str, permission: str) -> bool:
        members = {member, _everyone_of_its_pool(member), "allUsers"}
        return any(permission in ROLES.get(role, ()) and members & held for role, held in self.bindings.items())

    def add(self, role: str, member: str) -> None:
        if role not in ROLES:
            raise Refused(400, f"Role {role} is not supported for this resource.")
        self.bindings[role].add(member)

    def remove(self, role: str, member: str) -> None:
        self.bindings[role].discard(member)


class Token(msgspec.Struct, frozen=True):
    """Whose it is, until when, and, of an identity token, for which address."""

    member: str
    expires_at: float
    audience: str = ""


class Account:
    """One project, and the requests it admits. `project` is its id, `number` what pools name it by."""

    def __init__(self, project: str, number: str) -> None:
        self.project, self.number = project, number
        self.apis = set(APIS)
        self.policy = Policy()
        # Those of other projects of the same customer, by their ids.
        self.others: dict[str, Policy] = {}
        self.service_accounts: dict[str, Policy] = {}
        self.pools: dict[str, Pool] = {}
        self.reaches_issuers = True
        self.unbilled: set[str] = set()
        self.buckets: dict[str, Policy] = {}
        self.repositories: dict[str, Policy] = defaultdict(Policy)
        # Google gives it this as soon as Cloud Run is enabled.
        self.policy.add("roles/run.serviceAgent", self.run_agent)
        self.policy.add("roles/artifactregistry.reader", self.nodes_agent)
        self._tokens: dict[str, Token] = {}

    @property
    def run_agent(self) -> str:
        """Who pulls images for Cloud Run."""
        return f"serviceAccount:service-{self.number}@serverless-robot-prod.iam.gserviceaccount.com"

    @property
    def nodes_agent(self) -> str:
        """As whom the nodes of a cluster pull images, unless it was made to be another."""
        return f"serviceAccount:{self.number}-compute@developer.gserviceaccount.com"

    def new_project(self, name: str) -> Policy:
        """Another project of the same customer; the policy on it."""
        self.others[name] = policy = Policy()
        policy.add("roles/run.serviceAgent", self.run_agent)
        return policy

    def policy_of(self, resource: str) -> Policy:
        """That on the project in which the resource lies."""
        named = _PROJECT.search(resource)
        return self.others.get(named[1], self.policy) if named else self.policy

    def new_token(self, member: str, *, audience: str = "", seconds: float = TOKEN_SECONDS) -> str:
        text = f"ya29.{secrets.token_urlsafe(40)}"
        self._tokens[text] = Token(member, time.time() + seconds, audience)
        return text

    def holder(self, authorization: str, *, audience: str = "") -> str:
        """Whose token it is. Raises Refused for none, an old one, or that of an account that is gone."""
        token = self._tokens.get(authorization.removeprefix("Bearer "))
        if token is None or token.expires_at < time.time() or token.audience != audience or not self._is_there(token):
            raise Refused(
                401,
                "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
                "authentication credential.",
            )
        return token.member

    def require_api(self, service: str) -> None:
        if service not in self.apis:
            raise disabled(service, self.project)
        if service in self.unbilled:
            raise unbilled(self.number)

    def may(self, member: str, permission: str, *policies: Policy) -> bool:
        """Whether the project, or one of the narrower policies, allows it."""
        return any(policy.allows(member, permission) for policy in (self.policy, *policies))

    def require(self, member: str, permission: str, resource: str, *policies: Policy) -> None:
        """Raise Refused unless it is allowed."""
        if not any(one.allows(member, permission) for one in (self.policy_of(resource), *policies)):
            raise denied(permission, resource)

    def service_account(self, email: str) -> Policy:
        """The policy on a service account. Raises Refused for one that is not there."""
        if email not in self.service_accounts:
            raise Refused(404, f"Not found; Gaia id not found for email {email}")
        return self.service_accounts[email]

    def require_act_as(self, member: str, email: str) -> None:
        """Raise Refused unless the member may let something run as the service account."""
        policy = self.service_account(email)
        permission = "iam.serviceaccounts.actAs"
        if not self.may(member, "iam.serviceAccounts.actAs", policy):
            raise Refused(
                403,
                f"Permission '{permission}' denied on service account {email} (or it may not exist).",
            )

    def _is_there(self, token: Token) -> bool:
        kind, _, email = token.member.partition(":")
        return kind != "serviceAccount" or email in self.service_accounts


def _everyone_of_its_pool(member: str) -> str:
    kind, _, place = member.partition("://")
    return f"principalSet://{place.partition('/subject/')[0]}/*" if kind == "principal" else member
