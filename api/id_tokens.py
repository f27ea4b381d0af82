"""Checking an ID token: whose it is, as OpenID Connect Core 1.0, section 3.1.3.7, and RFC 8725 ask."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import httpx
import jwt
import msgspec
import structlog

from api.issuer_keys import IssuerKey, IssuerKeys, KeysUnavailable
from api.refusals import CredentialUnknown, IssuerAway
from api.trusted_issuers import TrustedIssuer

# Signatures that only the holder of a private key can make: nothing shared, nothing unsigned.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
# How far the issuer's clock and ours may be apart.
LEEWAY_SECONDS = 30
# What is longer is not looked at: ID tokens have about one thousand characters.
TOKEN_CHARACTERS_MAX = 8192
SUBJECT_CHARACTERS_MAX = 255
RSA_BITS_MIN = 2048

_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who a genuine token says the caller is. `email` is given only when the issuer has verified it."""

    issuer: str
    subject: str
    name: str
    email: str | None
    expires_at: datetime
    signed_in_at: datetime

    def __repr__(self) -> str:
        return f"Identity({self.issuer})"


def looks_like_one(text: str) -> bool:
    """Whether a credential has the form of a signed token."""
    return len(text) <= TOKEN_CHARACTERS_MAX and _FORM.fullmatch(text) is not None


class IdTokens:
    """Checks tokens of the trusted issuers and of nobody else."""

    def __init__(
        self,
        issuers: Iterable[TrustedIssuer],
        http: httpx.AsyncClient,
        *,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._trusted = {i.issuer: (i, IssuerKeys(i, http, monotonic=monotonic)) for i in issuers}

    @property
    def issuers(self) -> tuple[TrustedIssuer, ...]:
        """Those people may sign in with, in the operator's order."""
        return tuple(issuer for issuer, _ in self._trusted.values())

    async def identity(self, text: str) -> Identity:
        """Whose token it is. Raises CredentialUnknown, or IssuerAway when its keys cannot be had at the moment."""
        try:
            return await self._checked(text)
        except jwt.PyJWTError as problem:
            # The caller learns nothing by which a forgery could be bettered; the operator learns the kind of fault.
            structlog.get_logger().info("id_token_refused", problem=type(problem).__name__)
            raise CredentialUnknown("The ID token is not genuine, has expired, or is for somebody else.") from None

    async def _checked(self, text: str) -> Identity:
        _require_each_name_once(text)
        header = jwt.get_unverified_header(text)
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS or not isinstance(kid, str) or "crit" in header:
            raise jwt.InvalidAlgorithmError
        # Read before it is proven, to know whose keys to ask: only of those trusted, whatever the token says.
        unproven: dict[str, Any] = jwt.decode(text, options={"verify_signature": False})
        trusted = self._trusted.get(str(unproven.get("iss")))
        if trusted is None:
            raise jwt.InvalidIssuerError
        issuer, keys = trusted
        try:
            key = await keys.find(kid)
        except KeysUnavailable as problem:
            raise IssuerAway(str(problem)) from problem
        if key is None or not _suits(key, algorithm):
            raise jwt.InvalidKeyError
        return self._identity(issuer, self._claims(text, key, algorithm, issuer))

    def _claims(self, text: str, key: IssuerKey, algorithm: str, issuer: TrustedIssuer) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(
            text,
            key.key,
            algorithms=[algorithm],
            issuer=issuer.issuer,
            audience=list(issuer.audiences),
            # Times are checked below against the service's own clock.
            options={
                "require": ["iss", "sub", "aud", "exp", "iat"],
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
                "strict_aud": False,
            },
        )
        now = self._clock().timestamp()
        if _seconds(claims, "exp") <= now - LEEWAY_SECONDS:
            raise jwt.ExpiredSignatureError
        for name in ("iat", "nbf", "auth_time"):
            if name in claims and _seconds(claims, name) > now + LEEWAY_SECONDS:
                raise jwt.ImmatureSignatureError
        audiences = claims["aud"]
        # With several audiences, or a named party, it must have been made for one of ours.
        party = claims.get("azp")
        is_shared = isinstance(audiences, list) and len(audiences) > 1
        if (is_shared or party is not None) and party not in issuer.audiences:
            raise jwt.InvalidAudienceError
        return claims

    def _identity(self, issuer: TrustedIssuer, claims: dict[str, Any]) -> Identity:
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_CHARACTERS_MAX:
            raise jwt.DecodeError
        email = claims.get("email")
        # Who trusts an issuer's addresses does so where it says nothing of them, not where it says no.
        said = claims.get("email_verified", issuer.trusts_email)
        is_verified = said in (True, "true")
        verified = email if isinstance(email, str) and is_verified and "@" in email else None
        name = claims.get("name")
        return Identity(
            issuer=issuer.issuer,
            subject=subject,
            name=name if isinstance(name, str) else "",
            email=verified,
            expires_at=datetime.fromtimestamp(_seconds(claims, "exp"), UTC),
            # A token that was renewed says when its person was asked last.
            signed_in_at=datetime.fromtimestamp(_seconds(claims, "auth_time" if "auth_time" in claims else "iat"), UTC),
        )


def _require_each_name_once(text: str) -> None:
    """Two readers may take one of two claims of a name each; whoever writes both means to use that. Raises DecodeError."""
    for part in text.split(".")[:2]:
        try:
            json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)), object_pairs_hook=_once)
        except (ValueError, RecursionError) as problem:
            raise jwt.DecodeError from problem


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found


def _suits(key: IssuerKey, algorithm: str) -> bool:
    """Whether the key is of the kind the algorithm asks for: a token does not choose how its key is used."""
    if key.algorithm not in (None, algorithm):
        return False
    match key.kind:
        case "RSA":
            return algorithm[:2] in ("RS", "PS") and key.key.key_size >= RSA_BITS_MIN
        case "EC":
            return _CURVES.get(algorithm) == key.curve
        case "OKP":
            return algorithm == "EdDSA"
        case _:
            return False


def _seconds(claims: dict[str, Any], name: str) -> float:
    value = claims[name]
    # A day some thousand years ahead is a mistake, and no date of Python's.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
        raise jwt.DecodeError
    return float(value)
