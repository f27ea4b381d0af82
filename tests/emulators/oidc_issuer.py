"""A small OpenID Connect issuer over real HTTP: discovery, keys that rotate, ID tokens, the device flow (RFC 8628).

Its tokens are made by joserfc, so that what checks them is not what made them. It can be told to be away.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey
from joserfc.jws import JWSRegistry

CLIENT_ID = "dcf-tests"
DEVICE_SECONDS = 60
INTERVAL_SECONDS = 1

Key = RSAKey | ECKey


class OidcIssuer:
    """`calls` counts what was asked of each path. Whoever knows a user code approves it with `approve`."""

    def __init__(self) -> None:
        self.url = ""
        self.is_away = False
        self.calls: dict[str, int] = {}
        self.keys: list[Key] = [new_rsa_key()]
        self._devices: dict[str, dict[str, Any]] = {}

    @property
    def key(self) -> Key:
        """The one that signs."""
        return self.keys[-1]

    def rotate(self, key: Key | None = None, *, keep: bool = True) -> None:
        """Sign with a new key from here on; without `keep` the old ones are published no longer."""
        self.keys = [*(self.keys if keep else []), key or new_rsa_key()]

    def claims(self, subject: str = "ada", **changed: Any) -> dict[str, Any]:
        """What an ID token says; a claim changed to None is left out."""
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": subject,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 600,
            "name": f"{subject.title()} Lovelace",
            "email": f"{subject}@example.com",
            "email_verified": True,
            **changed,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(
        self,
        subject: str = "ada",
        *,
        key: Key | None = None,
        header: Mapping[str, Any] | None = None,
        **changed: Any,
    ) -> str:
        """A signed ID token. `header` and what is `changed` in the claims may be anything, so that forgeries can be made."""
        signing = key or self.key
        algorithm = "RS256" if isinstance(signing, RSAKey) else "ES256"
        head = {"alg": algorithm, "kid": signing.kid, "typ": "JWT", **(header or {})}
        registry = JWSRegistry(algorithms=[head["alg"]], strict_check_header=False)
        return jwt.encode(head, self.claims(subject, **changed), signing, registry=registry)

    def approve(self, user_code: str, subject: str) -> None:
        """What the person does in the browser."""
        device = next(d for d in self._devices.values() if d["user_code"] == user_code)
        device["subject"] = subject

    def pending(self) -> list[str]:
        """The user codes nobody has approved yet."""
        return [d["user_code"] for d in self._devices.values() if d["subject"] is None]

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._counted])
        app.router.add_get("/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/jwks", self._jwks)
        app.router.add_post("/device", self._device)
        app.router.add_post("/token", self._token)
        return app

    @web.middleware
    async def _counted(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.calls[request.path] = self.calls.get(request.path, 0) + 1
        if self.is_away:
            return web.Response(status=503)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _discovery(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/jwks",
                "device_authorization_endpoint": f"{self.url}/device",
                "token_endpoint": f"{self.url}/token",
                "id_token_signing_alg_values_supported": ["RS256", "ES256"],
            }
        )

    async def _jwks(self, _request: web.Request) -> web.Response:
        return web.json_response(KeySet(list(self.keys)).as_dict(private=False))

    async def _device(self, request: web.Request) -> web.Response:
        form = await request.post()
        if form.get("client_id") != CLIENT_ID or "openid" not in str(form.get("scope", "")).split():
            return web.json_response({"error": "invalid_client"}, status=401)
        device_code, user_code = uuid4().hex, uuid4().hex[:8].upper()
        self._devices[device_code] = {"user_code": user_code, "subject": None, "until": time.time() + DEVICE_SECONDS}
        return web.json_response(
            {
                "device_code": device_code,
                "user_code": user_code,
                "verification_uri": f"{self.url}/activate",
                "verification_uri_complete": f"{self.url}/activate?code={user_code}",
                "expires_in": DEVICE_SECONDS,
                "interval": INTERVAL_SECONDS,
            }
        )

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        match form.get("grant_type"):
            case "urn:ietf:params:oauth:grant-type:device_code":
                return self._for_device(str(form.get("device_code")))
            case "refresh_token":
                subject = str(form.get("refresh_token")).removeprefix("refresh-")
                return self._tokens(subject)
            case _:
                return web.json_response({"error": "unsupported_grant_type"}, status=400)

    def _for_device(self, device_code: str) -> web.Response:
        device = self._devices.get(device_code)
        if device is None or device["until"] < time.time():
            return web.json_response({"error": "expired_token"}, status=400)
        if device["subject"] is None:
            return web.json_response({"error": "authorization_pending"}, status=400)
        del self._devices[device_code]
        return self._tokens(device["subject"])

    def _tokens(self, subject: str) -> web.Response:
        return web.json_response(
            {
                "access_token": uuid4().hex,
                "token_type": "Bearer",
                "expires_in": 600,
                "id_token": self.token(subject),
                "refresh_token": f"refresh-{subject}",
            }
        )


def audiences_of(claims: Mapping[str, Any]) -> list[str]:
    """Whom a token is for: one, or a list of them, as Kubernetes always has it."""
    given = claims.get("aud", [])
    return [str(one) for one in given] if isinstance(given, list) else [str(given)]


def new_rsa_key(bits: int = 2048) -> RSAKey:
    """An RSA key with an id of its own."""
    return RSAKey.generate_key(bits, {"kid": uuid4().hex, "use": "sig"})


def new_ec_key(curve: str = "P-256") -> ECKey:
    """A key on an elliptic curve."""
    return ECKey.generate_key(curve, {"kid": uuid4().hex, "use": "sig"})


@asynccontextmanager
async def oidc_issuer() -> AsyncIterator[OidcIssuer]:
    """One that answers on a free port of this machine."""
    issuer = OidcIssuer()
    runner = web.AppRunner(issuer.application(), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        [(host, port)] = {address[:2] for address in runner.addresses}
        issuer.url = f"http://{host}:{port}"
        yield issuer
    finally:
        await asyncio.wait_for(runner.cleanup(), 10)
