"""What the customer has in Azure: who may come in, which roles they have, and what is there."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import jwt
from aiohttp import web

DIRECTORY = "11111111-2222-3333-4444-555555555555"
CLIENT = "66666666-7777-8888-9999-000000000000"
SUBSCRIPTION = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
ACCOUNT, CONTAINER = "acmefunctions", "dcf"
AUDIENCE = "api://AzureADTokenExchange"


class Problem(Exception):
    """An answer that is an error, in the form of Resource Manager unless a body is given."""

    def __init__(self, status: int, code: str, message: str = "", *, body: Any = None) -> None:
        super().__init__(code)
        self.response = web.json_response(body or {"error": {"code": code, "message": message or code}}, status=status)


@dataclass
class Customer:
    """`trusts` are the federated credentials (issuer, subject); `faults` are done to the next requests that fit."""

    trusts: set[tuple[str, str]] = field(default_factory=set)
    trusts_all_of: str = ""
    spreading: bool = False
    roles: set[str] = field(default_factory=lambda: {"Reader", "Storage Blob Data Contributor"})
    containers: set[str] = field(default_factory=lambda: {CONTAINER})
    tokens: dict[str, tuple[str, float]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)

    async def token(self, request: web.Request) -> web.Response:
        """Entra's token endpoint."""
        form = await request.post()
        if request.match_info["directory"] != DIRECTORY:
            raise _entra("invalid_request", 90002, "Tenant not found.")
        if form.get("client_id") != CLIENT:
            raise _entra("unauthorized_client", 700016, "Application was not found in the directory.")
        kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        if form.get("grant_type") != "client_credentials" or form.get("client_assertion_type") != kind:
            raise _entra("invalid_request", 900144, "The request body must contain the parameter.")
        await self._check(str(form.get("client_assertion", "")))
        scope = str(form.get("scope", ""))
        if not scope.endswith("/.default"):
            raise _entra("invalid_scope", 70011, "The scope is not valid.")
        text = secrets.token_urlsafe(24)
        self.tokens[text] = (scope.removesuffix("/.default"), time.time() + 3599)
        return web.json_response(
            {"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": text}
        )

    async def _check(self, assertion: str) -> None:
        """The signature by the issuer's published keys, then audience, time, issuer and subject."""
        try:
            claims = jwt.decode(assertion, options={"verify_signature": False})
            issuer = str(claims["iss"])
        except (jwt.InvalidTokenError, KeyError):
            raise _entra("invalid_client", 50027, "Invalid JWT token.") from None
        issuers = {one for one, _ in self.trusts} | {self.trusts_all_of}
        if self.spreading or not issuers - {""}:
            raise _entra("invalid_client", 70021, "No matching federated identity record found.")
        if issuer not in issuers:
            raise _entra("invalid_client", 700211, "No matching federated identity record found for the issuer.")
        if claims.get("aud") != AUDIENCE:
            raise _entra("invalid_client", 700212, "No matching federated identity record found for the audience.")
        if (issuer, claims.get("sub")) not in self.trusts and issuer != self.trusts_all_of:
            raise _entra("invalid_client", 700213, "No matching federated identity record found for the subject.")
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{issuer}/.well-known/jwks.json") as answer:
                keys = jwt.PyJWKSet.from_dict(await answer.json())
            key = keys[jwt.get_unverified_header(assertion)["kid"]]
            jwt.decode(assertion, key, algorithms=["RS256"], audience=AUDIENCE, issuer=issuer)
        except (aiohttp.ClientError, KeyError):
            raise _entra("invalid_request", 50166, "Request to External OIDC endpoint failed.") from None
        except jwt.ExpiredSignatureError:
            raise _entra("invalid_client", 700024, "The assertion is not within its valid time range.") from None
        except jwt.InvalidTokenError:
            raise _entra("invalid_client", 50013, "Assertion failed signature validation.") from None

    def admit(self, request: web.Request, audience: str) -> None:
        """Raises Problem (401) for a request without a token for the audience."""
        text = request.headers.get("Authorization", "").removeprefix("Bearer ")
        scope, until = self.tokens.get(text, ("", 0.0))
        if scope != audience or until < time.time():
            raise Problem(401, "InvalidAuthenticationToken", "The access token is invalid.")

    @web.middleware
    async def meet(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """What every request meets: the faults asked for, and problems as answers."""
        self.asked.append((request.method, request.path))
        fault = next((one for one in self.faults if one.fits(request)), None)
        if fault is not None:
            fault.times -= 1
            if fault.status:
                headers = {"Retry-After": "1"} if fault.status in (429, 503) else {}
                body = {"error": {"code": fault.code, "message": fault.code}}
                return web.json_response(body, status=fault.status, headers=headers)
        try:
            answer: web.StreamResponse = await handler(request)
        except Problem as problem:
            answer = problem.response
        if fault is not None and not fault.status:  # It had its effect, and nobody hears of it.
            assert request.transport is not None
            request.transport.abort()
        return answer


@dataclass
class Fault:
    """Done `times` times to requests of this method whose path has these words in it. Status 0: the answer is lost."""

    method: str
    words: str
    status: int = 0
    code: str = "Fault"
    times: int = 1

    def fits(self, request: web.Request) -> bool:
        return self.times > 0 and request.method == self.method and self.words in request.path


def _entra(error: str, number: int, text: str) -> Problem:
    body = {
        "error": error,
        "error_description": f"AADSTS{number}: {text}\r\nTrace ID: 0",
        "error_codes": [number],
        "trace_id": "0",
        "correlation_id": "0",
    }
    return Problem(401 if error == "invalid_client" else 400, error, body=body)
