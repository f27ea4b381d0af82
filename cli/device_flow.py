"""Signing in through a browser, on whichever device has one: OAuth 2.0 Device Authorization Grant (RFC 8628).

The issuer is asked for everything itself; the service is only told the ID token that comes of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from cli import exits
from cli.trouble import Trouble
from process.secret import Secret

ANSWER_SECONDS_MAX = 20.0
ANSWER_BYTES_MAX = 256 * 1024
# What RFC 8628 says where an issuer says nothing: the pause between questions, and what is added when it is too short.
INTERVAL_SECONDS = 5.0
SLOW_DOWN_SECONDS = 5.0
# Whatever an issuer allows: nobody waits longer.
WAIT_SECONDS_MAX = 1800.0
# A token that ends so soon is renewed before it is used.
RENEWED_SECONDS_BEFORE = 60.0
_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_SCOPE = "openid profile email offline_access"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Renewal(msgspec.Struct, frozen=True):
    """How a new ID token is had without asking anybody. `refresh_token` is a secret."""

    token_url: str
    client_id: str
    refresh_token: str

    def __repr__(self) -> str:
        return f"Renewal({self.token_url})"


class SignedIn(msgspec.Struct, frozen=True):
    """What came of it; without `renewal` one signs in again when the token has ended."""

    token: Secret
    renewal: Renewal | None


class Prompt(msgspec.Struct, frozen=True):
    """What the person is asked to do; `complete_url` has the code in it, where the issuer offers that."""

    url: str
    complete_url: str | None
    code: str


class _Endpoints(msgspec.Struct, frozen=True):
    issuer: str
    token_endpoint: str
    device_authorization_endpoint: str | None = None


class _Device(msgspec.Struct, frozen=True):
    device_code: str
    user_code: str
    verification_uri: str
    expires_in: float
    verification_uri_complete: str | None = None
    interval: float = INTERVAL_SECONDS


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str | None = None
    refresh_token: str | None = None
    error: str = ""
    error_description: str = ""


class NotSignedInThere(Trouble):
    """The issuer gave no token."""


def sign_in(
    issuer: str,
    client_id: str,
    show: Callable[[Prompt], None],
    *,
    pause: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> SignedIn:
    """Lead a person through it, and wait until they are done. Raises NotSignedInThere."""
    with _client() as http:
        endpoints = _endpoints(http, issuer)
        if endpoints.device_authorization_endpoint is None:
            raise NotSignedInThere(
                f"{issuer} offers no sign-in by device.", then="dcf login --key-file FILE, with an API key"
            )
        form = {"client_id": client_id, "scope": _SCOPE}
        device = _posted(http, endpoints.device_authorization_endpoint, form, _Device)
        show(Prompt(device.verification_uri, device.verification_uri_complete, device.user_code))
        interval = max(1.0, device.interval)
        end = monotonic() + min(device.expires_in, WAIT_SECONDS_MAX)
        while monotonic() < end:
            pause(interval)
            form = {"grant_type": _GRANT, "device_code": device.device_code, "client_id": client_id}
            tokens = _posted(http, endpoints.token_endpoint, form, _Tokens, or_error=True)
            match tokens.error:
                case "":
                    return _signed_in(tokens, endpoints.token_endpoint, client_id)
                case "authorization_pending":
                    continue
                case "slow_down":
                    interval += SLOW_DOWN_SECONDS
                case "access_denied":
                    raise NotSignedInThere(
                        "You declined to sign in.", then="dcf login --browser", exit_code=exits.NOT_ALLOWED
                    )
                case "expired_token":
                    break
                case _:
                    raise NotSignedInThere(f"{issuer} gives no token: {tokens.error_description or tokens.error}.")
    raise NotSignedInThere("Nobody signed in in time.", then="dcf login --browser", exit_code=exits.NOT_ALLOWED)


def renewed(renewal: Renewal) -> SignedIn:
    """A new token without asking anybody. Raises NotSignedInThere."""
    form = {"grant_type": "refresh_token", "refresh_token": renewal.refresh_token, "client_id": renewal.client_id}
    with _client() as http:
        tokens = _posted(http, renewal.token_url, form, _Tokens, or_error=True)
    if tokens.error:
        raise NotSignedInThere(
            f"Your sign-in has ended: {tokens.error_description or tokens.error}.",
            then="dcf login --browser",
            exit_code=exits.NOT_ALLOWED,
        )
    return _signed_in(tokens, renewal.token_url, renewal.client_id, before=renewal.refresh_token)


def has_ended(token: Secret, now: float) -> bool:
    """Whether an ID token is over, or will be in a moment; `now` in seconds since 1970."""
    import jwt  # Only who signed in through a browser has one.

    try:
        claims = jwt.decode(token.reveal(), options={"verify_signature": False})
        return float(claims.get("exp", 0)) <= now + RENEWED_SECONDS_BEFORE
    except (jwt.PyJWTError, TypeError, ValueError):
        return False


def _signed_in(tokens: _Tokens, token_url: str, client_id: str, *, before: str | None = None) -> SignedIn:
    if tokens.id_token is None:
        raise NotSignedInThere("The issuer gave no ID token.", then="ask its operators to allow the scope openid")
    refresh = tokens.refresh_token or before
    return SignedIn(Secret(tokens.id_token), Renewal(token_url, client_id, refresh) if refresh else None)


def _client() -> httpx.Client:
    return httpx.Client(timeout=ANSWER_SECONDS_MAX, follow_redirects=False)


def _endpoints(http: httpx.Client, issuer: str) -> _Endpoints:
    url = issuer.rstrip("/") + "/.well-known/openid-configuration"
    endpoints: _Endpoints = _decoded(_answered(http, "GET", url), url, _Endpoints)
    if endpoints.issuer != issuer:
        raise NotSignedInThere(f"{url} describes another issuer, {endpoints.issuer}.")
    return endpoints


def _posted(http: httpx.Client, url: str, form: dict[str, str], type: type[Any], *, or_error: bool = False) -> Any:
    answer = _answered(http, "POST", url, form)
    if answer.is_success or (or_error and answer.status_code in (400, 401, 403)):
        return _decoded(answer, url, type)
    raise NotSignedInThere(f"{url} answers {answer.status_code}.")


def _answered(http: httpx.Client, method: str, url: str, form: dict[str, str] | None = None) -> httpx.Response:
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise NotSignedInThere(f"{url} is not encrypted.")
    try:
        return http.request(method, url, data=form, headers={"Accept": "application/json"})
    except httpx.HTTPError as problem:
        raise NotSignedInThere(f"{url} does not answer: {problem}.", exit_code=exits.UNREACHABLE) from problem


def _decoded(answer: httpx.Response, url: str, type: type[Any]) -> Any:
    try:
        return msgspec.json.decode(answer.content[:ANSWER_BYTES_MAX], type=type)
    except msgspec.MsgspecError as problem:
        raise NotSignedInThere(f"{url} answers {answer.status_code} and nothing that can be read.") from problem
