"""STS: becomes a role for somebody's token, once issuer, signature, audience and the role's trust policy agree to it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt

from tests.emulators.aws.account import Account, Session, conditions_hold, trust_statements
from tests.emulators.aws.answers import Refused
from tests.emulators.oidc_issuer import audiences_of

_NOT_AUTHORIZED = "Not authorized to perform sts:AssumeRoleWithWebIdentity"
Given = dict[str, Any]


class Tokens:
    """Of one account. `iam` is what moto has not of IAM."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self.methods = {
            "AssumeRoleWithWebIdentity": self._assume,
            "GetCallerIdentity": self._who,
        }
        self.iam = {
            "AddClientIDToOpenIDConnectProvider": self._add_audience,
            "SimulatePrincipalPolicy": self._simulate,
        }

    def _assume(self, given: Given, session: Session | None) -> Given:
        claims = self._claims(given["WebIdentityToken"])
        host = _host(claims["iss"])
        role = self._account.role(given["RoleArn"])
        provider = f"arn:aws:iam::{self._account.id}:oidc-provider/{host}"
        context = {f"{host}:{name}": str(claims.get(name, "")) for name in ("aud", "sub")}
        trusted = role is not None and any(
            statement["Effect"] == "Allow"
            and statement["Action"] == "sts:AssumeRoleWithWebIdentity"
            and statement["Principal"].get("Federated") == provider
            and conditions_hold(statement, context)
            for statement in trust_statements(role)
        )
        if not trusted:
            raise Refused("AccessDenied", _NOT_AUTHORIZED, 403)
        session = self._account.become(given["RoleArn"], given["RoleSessionName"], given.get("DurationSeconds", 3600))
        return {
            "Credentials": {
                "AccessKeyId": session.access_key,
                "SecretAccessKey": session.secret,
                "SessionToken": session.token,
                "Expiration": datetime.fromtimestamp(session.expires_at, UTC),
            },
            "SubjectFromWebIdentityToken": claims["sub"],
            "Audience": claims["aud"],
            "Provider": provider,
            "AssumedRoleUser": {
                "AssumedRoleId": f"{role.id}:{session.name}",
                "Arn": self._account.user_arn(session),
            },
        }

    def _who(self, _: Given, session: Session | None) -> Given:
        arn = f"arn:aws:iam::{self._account.id}:root" if session is None else self._account.user_arn(session)
        return {"UserId": "AROA", "Account": self._account.id, "Arn": arn}

    def _add_audience(self, given: Given, _: Session | None) -> Given:
        provider = self._account.iam.get_open_id_connect_provider(given["OpenIDConnectProviderArn"])
        if given["ClientID"] not in provider.client_id_list:
            provider.client_id_list.append(given["ClientID"])
        return {}

    def _simulate(self, given: Given, _: Session | None) -> Given:
        context = {one["ContextKeyName"]: one["ContextKeyValues"][0] for one in given.get("ContextEntries", [])}
        role = given["PolicySourceArn"]
        if self._account.role(role) is None:
            raise Refused("NoSuchEntity", f"The role {role} cannot be found.", 404)
        return {
            "EvaluationResults": [
                self._evaluated(role, action, resource, context)
                for action in given["ActionNames"]
                for resource in given.get("ResourceArns", ["*"])
            ],
            "IsTruncated": False,
        }

    def _evaluated(self, role: str, action: str, resource: str, context: dict[str, str]) -> Given:
        """What the organization forbids under conditions is left out, as by Amazon."""
        forbids = self._account.forbids(action, resource, context, conditions=False)
        decision = self._account.decision(role, action, resource, **context)
        return {
            "EvalActionName": action,
            "EvalResourceName": resource,
            "EvalDecision": "explicitDeny" if forbids else decision,
            "OrganizationsDecisionDetail": {"AllowedByOrganizations": not forbids},
        }

    def _claims(self, token: str) -> dict[str, Any]:
        """What the token says, once it is genuine. Raises Refused."""
        try:
            claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
            kid = jwt.get_unverified_header(token)["kid"]
            issuer = str(claims["iss"])
        except (jwt.InvalidTokenError, KeyError) as error:
            raise Refused("InvalidIdentityToken", "The web identity token provided could not be validated.") from error
        known = self._account.iam.open_id_providers.values()
        provider = next((one for one in known if one.url.rstrip("/") == _host(issuer)), None)
        if provider is None:
            raise Refused("InvalidIdentityToken", f"No OpenIDConnect provider found in your account for {issuer}")
        audience = next((one for one in audiences_of(claims) if one in provider.client_id_list), "")
        if not audience:
            raise Refused("InvalidIdentityToken", "Incorrect token audience")
        if claims["exp"] < time.time():
            raise Refused("ExpiredTokenException", f"Token expired: current date/time {time.time():.0f}")
        try:
            claims["aud"] = audience
            jwt.decode(token, _keys(issuer)[kid], algorithms=["RS256"], audience=audience, issuer=issuer)
        except (httpx.HTTPError, KeyError, ValueError) as error:
            raise Refused(
                "InvalidIdentityToken",
                "Couldn't retrieve verification key from your identity provider, please reference "
                "AssumeRoleWithWebIdentity documentation for requirements",
            ) from error
        except jwt.InvalidTokenError as error:
            raise Refused(
                "InvalidIdentityToken", "Provided Token signature is not valid for the given algorithm"
            ) from error
        return claims


def _host(issuer: str) -> str:
    parts = urlsplit(issuer)
    return f"{parts.netloc}{parts.path}".rstrip("/")


def _keys(issuer: str) -> jwt.PyJWKSet:
    """As Amazon finds them: by the issuer's own description."""
    found = httpx.get(f"{issuer}/.well-known/openid-configuration", timeout=10).raise_for_status().json()
    return jwt.PyJWKSet.from_dict(httpx.get(found["jwks_uri"], timeout=10).raise_for_status().json())
