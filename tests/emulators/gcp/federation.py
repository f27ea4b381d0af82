"""Tokens: ours is checked as Google's STS checks it, and exchanged for one of a service account by its policy."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from tests.emulators.gcp.account import Account, PoolProvider
from tests.emulators.gcp.answers import NotExchanged, Refused, denied
from tests.emulators.gcp.calls import Call, Methods
from tests.emulators.oidc_issuer import audiences_of

_AUDIENCE = re.compile(
    r"//iam\.googleapis\.com/projects/(\d+)/locations/global/workloadIdentityPools/([^/]+)/providers/([^/]+)"
)
_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_JWT = "urn:ietf:params:oauth:token-type:jwt"
_ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"
_ACCESS = "urn:ietf:params:oauth:token-type:access_token"
_TARGET = (
    'The target service indicated by the "audience" parameters is invalid. This might either be because the pool or '
    "provider is disabled or deleted or because it doesn't exist."
)

_UNREACHABLE = "Error connecting to the given credential's issuer."


class Federation:
    """The services sts and iamcredentials, and the policies on service accounts and projects."""

    def __init__(self, account: Account) -> None:
        self._account = account

    @property
    def methods(self) -> Methods:
        return {
            "sts.token": self._exchange,
            "iamcredentials.projects.serviceAccounts.generateAccessToken": self._generate,
            "iam.projects.serviceAccounts.testIamPermissions": self._test_service_account,
            "cloudresourcemanager.projects.testIamPermissions": self._test_project,
        }

    async def _exchange(self, call: Call) -> dict[str, Any]:
        asked = call.body
        if asked.get("grantType") != _GRANT or asked.get("requestedTokenType") != _ACCESS:
            raise NotExchanged("unsupported_grant_type", "Invalid grant type or requested token type.")
        if asked.get("subjectTokenType") not in (_JWT, _ID_TOKEN) or not asked.get("scope"):
            raise NotExchanged("invalid_request", "Invalid subject token type, or no scope.")
        found = _AUDIENCE.fullmatch(asked.get("audience", ""))
        if found is None:
            raise NotExchanged(
                "invalid_request",
                'Invalid value for "audience". This value should be the full resource name of the Identity Provider.',
            )
        number, pool, name = found.groups()
        provider = self._provider(number, pool, name)
        if not (provider.keys or self._account.reaches_issuers):
            raise NotExchanged("invalid_grant", _UNREACHABLE)
        claims = await _checked(asked.get("subjectToken", ""), provider, asked["audience"])
        subject = _mapped(provider.mapping.get("google.subject", ""), claims)
        if not subject:
            raise NotExchanged("unauthorized_client", "The mapped attribute 'google.subject' must be of type STRING.")
        if provider.condition and not _holds(provider.condition, claims):
            raise NotExchanged("unauthorized_client", "The given credential is rejected by the attribute condition.")
        member = f"principal://iam.googleapis.com/projects/{number}/locations/global/workloadIdentityPools/{pool}/subject/{subject}"
        return {
            "access_token": self._account.new_token(member),
            "issued_token_type": _ACCESS,
            "token_type": "Bearer",
            "expires_in": 3600,
        }

    def _provider(self, number: str, pool: str, name: str) -> PoolProvider:
        """One that exchanges tokens. Raises NotExchanged."""
        of = self._account.pools.get(pool) if number == self._account.number else None
        found = of.providers.get(name) if of is not None else None
        if of is None or found is None or any(one.disabled or one.deleted for one in (of, found)):
            raise NotExchanged("invalid_target", _TARGET)
        return found

    def _generate(self, call: Call) -> dict[str, Any]:
        email = call.path["name"].rpartition("/")[2]
        policy = self._account.service_account(email)
        if not policy.allows(call.member, "iam.serviceAccounts.getAccessToken"):
            raise denied("iam.serviceAccounts.getAccessToken", call.path["name"])
        seconds = float(call.body.get("lifetime", "3600s").removesuffix("s"))
        if not 0 < seconds <= 3600:
            raise Refused(400, "The lifetime is out of range.", field="lifetime")
        token = self._account.new_token(f"serviceAccount:{email}", seconds=seconds)
        ends = datetime.now(UTC) + timedelta(seconds=seconds)
        return {"accessToken": token, "expireTime": ends.strftime("%Y-%m-%dT%H:%M:%SZ")}

    def _test_service_account(self, call: Call) -> dict[str, Any]:
        policy = self._account.service_account(call.path["resource"].rpartition("/")[2])
        asked = call.body["permissions"]
        return {"permissions": [name for name in asked if self._account.may(call.member, name, policy)]}

    def _test_project(self, call: Call) -> dict[str, Any]:
        project = call.path["resource"]
        if project not in (self._account.project, *self._account.others):
            raise Refused(403, "The caller does not have permission")
        policy = self._account.policy_of(f"projects/{project}")
        return {"permissions": [name for name in call.body["permissions"] if policy.allows(call.member, name)]}


async def _checked(token: str, provider: PoolProvider, audience: str) -> dict[str, Any]:
    """The claims, with the signature checked by the keys that the issuer publishes."""
    keys = KeySet.import_key_set(provider.keys or await _fetched(provider.issuer))  # type: ignore[arg-type] # it is one
    try:
        claims: dict[str, Any] = jwt.decode(token, keys, algorithms=["RS256"]).claims
    except (JoseError, ValueError) as error:
        raise NotExchanged("invalid_grant", f"Invalid JWT signature: {error}") from error
    if claims.get("iss") != provider.issuer:
        message = f"The issuer in ID Token {claims.get('iss')} does not match the expected ones: {provider.issuer}"
        raise NotExchanged("invalid_grant", message)
    allowed = provider.audiences or [audience, f"https:{audience}"]
    if not set(audiences_of(claims)) & set(allowed):
        message = f"The audience in ID Token [{claims.get('aud')}] does not match the expected audience."
        raise NotExchanged("invalid_grant", message)
    now = time.time()
    if not claims.get("iat", now + 99) - 60 <= now < claims.get("exp", 0):
        raise NotExchanged("invalid_grant", f"ID Token issued at {claims.get('iat')} is stale to sign-in.")
    return claims


async def _fetched(issuer: str) -> dict[str, Any]:
    try:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{issuer}/.well-known/openid-configuration") as answer:
                configuration = await answer.json()
            if configuration["issuer"] != issuer:
                message = (
                    "`issuer` claim in OIDC discovery document does not match the issuer specified in the request."
                )
                raise NotExchanged("invalid_grant", message)
            async with session.get(configuration["jwks_uri"]) as answer:
                return dict(await answer.json())
    except (aiohttp.ClientError, KeyError, ValueError) as error:
        raise NotExchanged("invalid_grant", _UNREACHABLE) from error


def _mapped(expression: str, claims: dict[str, Any]) -> str:
    found = re.fullmatch(r"assertion\.(\w+)", expression)
    return str(claims.get(found[1], "")) if found else ""


def _holds(condition: str, claims: dict[str, Any]) -> bool:
    """Of CEL only equalities and beginnings, with `&&` between them."""
    for part in condition.split("&&"):
        equal = re.fullmatch(r"\s*assertion\.(\w+)\s*==\s*['\"]([^'\"]*)['\"]\s*", part)
        begins = re.fullmatch(r"\s*assertion\.(\w+)\.startsWith\(['\"]([^'\"]*)['\"]\)\s*", part)
        if not (
            (equal and str(claims.get(equal[1])) == equal[2])
            or (begins and str(claims.get(begins[1])).startswith(begins[2]))
        ):
            return False
    return True
