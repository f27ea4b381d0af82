"""From our own token to short-lived keys of the customer's role, without any secret of theirs."""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any
from uuid import UUID

from domain.clouds import AwsIdentity
from providers.aws import naming
from providers.aws.errors import Answered, command, role_name, told
from providers.aws.keys import Keys
from providers.aws.wire import Wire
from providers.issuer import TokenSource, TokenUnavailable
from providers.provider import ProviderBusy, ProviderRefused

AUDIENCE = "sts.amazonaws.com"
LIFETIME_SECONDS = 3600
# Keys with less than this left are replaced before they are used.
LEFT_SECONDS_MIN = 300.0
CACHED_MAX = 1000

Whose = tuple[UUID, UUID, AwsIdentity]


class Roles:
    """Keys by tenant, project and identity, kept until they are nearly over. At most CACHED_MAX are kept."""

    def __init__(self, wire: Wire, source: TokenSource, *, clock: Callable[[], float] = time.time) -> None:
        self._wire, self._source, self._clock = wire, source, clock
        self._kept: OrderedDict[Whose, Keys] = OrderedDict()
        self._turns: dict[Whose, asyncio.Lock] = {}

    async def keys(self, tenant_id: UUID, project_id: UUID, identity: AwsIdentity) -> Keys:
        """Keys of the role. Raises ProviderRefused with the command that mends it, or ProviderBusy."""
        whose = (tenant_id, project_id, identity)
        if (kept := self._fresh(whose)) is not None:
            return kept
        try:
            async with self._turns.setdefault(whose, asyncio.Lock()):
                if (kept := self._fresh(whose)) is not None:
                    return kept
                made = await self.assume(self.own(*whose), *whose)
                self._keep(whose, made)
                return made
        finally:
            self._turns.pop(whose, None)

    def forget(self, tenant_id: UUID, project_id: UUID, identity: AwsIdentity) -> None:
        """Amazon did not take them any more."""
        self._kept.pop((tenant_id, project_id, identity), None)

    def own(self, tenant_id: UUID, project_id: UUID, identity: AwsIdentity) -> str:
        """Our token for Amazon's STS. Raises ProviderRefused."""
        try:
            return self._source.token(tenant_id, project_id, AUDIENCE)
        except TokenUnavailable as error:
            raise ProviderRefused(
                "OWN_TOKEN_UNAVAILABLE", str(error), "The operator of this service mends it."
            ) from error

    async def assume(self, own: str, tenant_id: UUID, project_id: UUID, identity: AwsIdentity) -> Keys:
        """Keys of the role for our token. Raises ProviderRefused, or ProviderBusy."""
        try:
            answer = await self._wire.call(
                "sts",
                identity.region,
                "assume_role_with_web_identity",
                RoleArn=identity.role_arn,
                RoleSessionName=naming.session_name(tenant_id, project_id),
                WebIdentityToken=own,
                DurationSeconds=LIFETIME_SECONDS,
            )
        except Answered as error:
            raise self._not_assumed(error, tenant_id, project_id, identity) from error
        given: dict[str, Any] = answer["Credentials"]
        return Keys(
            given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], given["Expiration"].timestamp()
        )

    def trust_policy(self, tenant_id: UUID, project_id: UUID, provider_arn: str) -> dict[str, Any]:
        """What lets exactly this project of this tenant become the role."""
        return trust_policy(self._source.issuer, self._source.subject(tenant_id, project_id), provider_arn)

    def _not_assumed(self, error: Answered, tenant_id: UUID, project_id: UUID, identity: AwsIdentity) -> Exception:
        issuer, account = self._source.issuer, naming.account_id(identity.role_arn)
        provider_arn = naming.oidc_provider_arn(naming.partition(identity.role_arn), account, issuer)
        match error.code:
            case "AccessDenied" | "AccessDeniedException":
                trust = json.dumps(self.trust_policy(tenant_id, project_id, provider_arn), separators=(",", ":"))
                name = role_name(identity.role_arn)
                return ProviderRefused(
                    "AWS_TRUST_POLICY_REFUSED",
                    f"This project may not act as {identity.role_arn}: there is no such role, its trust policy does not "
                    "name this project, or it has not spread yet (seconds, as a rule).",
                    command("aws", "iam", "update-assume-role-policy", "--role-name", name, "--policy-document", trust),
                )
            case "InvalidIdentityToken" if "No OpenIDConnect provider" in error.message:
                return ProviderRefused(
                    "AWS_OIDC_PROVIDER_NOT_FOUND",
                    f"The account {account} has no OIDC provider for {issuer}.",
                    create_provider_command(issuer),
                )
            case "InvalidIdentityToken" if "audience" in error.message:
                return ProviderRefused(
                    "AWS_AUDIENCE_REFUSED",
                    f"The OIDC provider for {issuer} does not take tokens for {AUDIENCE}.",
                    command(
                        "aws",
                        "iam",
                        "add-client-id-to-open-id-connect-provider",
                        "--open-id-connect-provider-arn",
                        provider_arn,
                        "--client-id",
                        AUDIENCE,
                    ),
                )
            case "InvalidIdentityToken" if "verification key" in error.message:
                return _issuer_unreachable(error, issuer)
            case "IDPCommunicationError":
                return ProviderBusy(f"AWS could not read our keys at {issuer}: {error.message}", retry_in_seconds=5.0)
            case "InvalidIdentityToken" | "IDPRejectedClaim" | "ExpiredTokenException":
                return ProviderRefused(
                    "AWS_TOKEN_REFUSED",
                    error.message,
                    f"See that the clock of this service is right, and that {issuer} is the address that AWS reaches it by.",
                )
            case "RegionDisabledException":
                return ProviderRefused(
                    "AWS_REGION_DISABLED",
                    error.message,
                    f"Enable STS for {identity.region} in the account's IAM settings, or name another region.",
                )
            case "ValidationError":
                return ProviderRefused(
                    "AWS_ROLE_INVALID", error.message, "Give the role's whole ARN, as IAM shows it, and verify again."
                )
            case _:
                return told(error, identity)

    def _fresh(self, whose: Whose) -> Keys | None:
        kept = self._kept.get(whose)
        if kept is None or kept.expires_at - self._clock() < LEFT_SECONDS_MIN:
            return None
        self._kept.move_to_end(whose)
        return kept

    def _keep(self, whose: Whose, keys: Keys) -> None:
        self._kept[whose] = keys
        while len(self._kept) > CACHED_MAX:
            self._kept.popitem(last=False)


def trust_policy(issuer: str, subject: str, provider_arn: str) -> dict[str, Any]:
    """What lets this subject's tokens, made for Amazon's STS, become a role."""
    host = naming.issuer_host(issuer)
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": provider_arn},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {f"{host}:aud": AUDIENCE, f"{host}:sub": subject}},
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def create_provider_command(issuer: str) -> str:
    """What makes the OIDC provider that stands for this service in an account."""
    return command(
        "aws", "iam", "create-open-id-connect-provider", "--url", issuer, "--client-id-list", AUDIENCE, *naming.TAGS
    )


def _issuer_unreachable(error: Answered, issuer: str) -> ProviderRefused:
    return ProviderRefused(
        "AWS_ISSUER_UNREACHABLE",
        f"AWS could not read this service's keys at {issuer}: {error.message}",
        "The operator sets DCF_PUBLIC_URL to an https address that the internet reaches, and keeps "
        "/.well-known/openid-configuration open there.",
    )
