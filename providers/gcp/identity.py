"""From our own token to an access token of the customer's service account, without any secret of theirs."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import msgspec

from domain.clouds import GcpIdentity
from providers.gcp.errors import Answered, command, told
from providers.gcp.pools import Pools
from providers.gcp.wire import Wire
from providers.issuer import TokenSource, TokenUnavailable
from providers.provider import ProviderRefused

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
LIFETIME_SECONDS = 3600
# A token with less than this left is replaced before it is used.
LEFT_SECONDS_MIN = 300.0
CACHED_MAX = 1000

_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_JWT = "urn:ietf:params:oauth:token-type:jwt"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - the name of a kind of token

Whose = tuple[UUID, UUID, GcpIdentity]


class AccessToken(msgspec.Struct, frozen=True):
    """`expires_at` is in seconds since 1970."""

    text: str
    expires_at: float

    def __repr__(self) -> str:
        return "AccessToken(********)"


class _Exchanged(msgspec.Struct):
    access_token: str


class _Generated(msgspec.Struct, rename="camel"):
    access_token: str
    expire_time: datetime


class Tokens:
    """Access tokens by tenant, project and identity, kept until they are nearly over. At most CACHED_MAX are kept."""

    def __init__(self, wire: Wire, source: TokenSource, *, clock: Callable[[], float] = time.time) -> None:
        self._wire, self._source, self._clock = wire, source, clock
        self._pools = Pools(source)
        self._kept: OrderedDict[Whose, AccessToken] = OrderedDict()
        self._turns: dict[Whose, asyncio.Lock] = {}

    async def of(self, tenant_id: UUID, project_id: UUID, identity: GcpIdentity) -> str:
        """A token of the service account. Raises ProviderRefused with the command that mends it, or ProviderBusy."""
        whose = (tenant_id, project_id, identity)
        if (kept := self._fresh(whose)) is not None:
            return kept
        try:
            async with self._turns.setdefault(whose, asyncio.Lock()):
                if (kept := self._fresh(whose)) is not None:
                    return kept
                made = await self.generate(await self.exchange(self.own(*whose), *whose), *whose)
                self._keep(whose, made)
                return made.text
        finally:
            self._turns.pop(whose, None)

    def forget(self, tenant_id: UUID, project_id: UUID, identity: GcpIdentity) -> None:
        """Google did not take it any more."""
        self._kept.pop((tenant_id, project_id, identity), None)

    def own(self, tenant_id: UUID, project_id: UUID, identity: GcpIdentity) -> str:
        """Our token for the identity's provider. Raises ProviderRefused."""
        try:
            return self._source.token(tenant_id, project_id, identity.audience)
        except TokenUnavailable as error:
            raise ProviderRefused(
                "OWN_TOKEN_UNAVAILABLE", str(error), "The operator of this service mends it."
            ) from error

    async def exchange(self, own: str, tenant_id: UUID, project_id: UUID, identity: GcpIdentity) -> str:
        """The federated token that Google's STS gives for ours. Raises ProviderRefused or ProviderBusy."""
        body = {
            "grantType": _EXCHANGE,
            "audience": identity.audience,
            "scope": SCOPE,
            "requestedTokenType": _ACCESS_TOKEN,
            "subjectTokenType": _JWT,
            "subjectToken": own,
        }
        try:
            return (await self._wire.call("POST", "sts", "/v1/token", _Exchanged, body=body)).access_token
        except Answered as error:
            raise self._not_exchanged(error, (tenant_id, project_id, identity)) from error

    async def generate(self, federated: str, tenant_id: UUID, project_id: UUID, identity: GcpIdentity) -> AccessToken:
        """A token of the service account itself. Raises ProviderRefused (WORKLOAD_IDENTITY_BINDING_MISSING) or ProviderBusy."""
        path = f"/v1/projects/-/serviceAccounts/{identity.service_account_email}:generateAccessToken"
        body = {"scope": [SCOPE], "lifetime": f"{LIFETIME_SECONDS}s"}
        try:
            made = await self._wire.call("POST", "iamcredentials", path, _Generated, token=federated, body=body)
        except Answered as error:
            raise self._not_generated(error, tenant_id, project_id, identity) from error
        return AccessToken(made.access_token, made.expire_time.timestamp())

    def binding_command(self, tenant_id: UUID, project_id: UUID, identity: GcpIdentity) -> str:
        """What lets exactly this project of this tenant become the service account."""
        subject = self._source.subject(tenant_id, project_id)
        return command(
            "gcloud",
            "iam",
            "service-accounts",
            "add-iam-policy-binding",
            identity.service_account_email,
            f"--project={identity.gcp_project_id}",
            "--role=roles/iam.workloadIdentityUser",
            f"--member=principal://iam.googleapis.com/{identity.pool_name}/subject/{subject}",
        )

    def _not_exchanged(self, error: Answered, whose: Whose) -> Exception:
        if error.status == "invalid_target":
            return ProviderRefused("WORKLOAD_IDENTITY_PROVIDER_NOT_FOUND", error.message, self._pools.restore(whose[2]))
        if error.status not in ("invalid_grant", "invalid_request", "unauthorized_client"):
            return told(error, whose[2])
        if "credential's issuer" in error.message:
            return self._pools.unreachable(error.message, whose[2])
        if "attribute condition" in error.message:
            return ProviderRefused(
                "WORKLOAD_IDENTITY_CONDITION_REFUSED",
                f"{error.message} The remedy puts another in its place, which all projects of the tenant meet.",
                self._pools.admit(*whose),
            )
        if "stale" in error.message:
            return ProviderRefused(
                "OWN_TOKEN_STALE", error.message, "The operator of this service sets its clock right."
            )
        return ProviderRefused(
            "WORKLOAD_IDENTITY_TOKEN_REFUSED",
            f"{error.message} If others use this provider too, make another one for this service. If our keys were handed over "
            f"to it, hand those at {self._source.keys_url} over anew.",
            self._pools.correct(whose[2]),
        )

    def _not_generated(self, error: Answered, tenant_id: UUID, project_id: UUID, identity: GcpIdentity) -> Exception:
        email = identity.service_account_email
        if error.http_status == 404:
            account = email.partition("@")[0]
            return ProviderRefused(
                "SERVICE_ACCOUNT_NOT_FOUND",
                f"There is no service account {email}.",
                command("gcloud", "iam", "service-accounts", "create", account, f"--project={identity.gcp_project_id}"),
            )
        refused = told(error, identity)
        if (
            error.http_status == 403
            and isinstance(refused, ProviderRefused)
            and refused.code == "GCP_PERMISSION_DENIED"
        ):
            return ProviderRefused(
                "WORKLOAD_IDENTITY_BINDING_MISSING",
                f"This project may not act as {email}: the binding of roles/iam.workloadIdentityUser is missing, "
                "or has not spread yet (up to seven minutes).",
                self.binding_command(tenant_id, project_id, identity),
            )
        return refused

    def _fresh(self, whose: Whose) -> str | None:
        kept = self._kept.get(whose)
        if kept is None or kept.expires_at - self._clock() < LEFT_SECONDS_MIN:
            return None
        self._kept.move_to_end(whose)
        return kept.text

    def _keep(self, whose: Whose, token: AccessToken) -> None:
        self._kept[whose] = token
        while len(self._kept) > CACHED_MAX:
            self._kept.popitem(last=False)
