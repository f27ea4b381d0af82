"""Azure Key Vault's keys, and who gives tokens for them: by hand, from Microsoft's pages, since no package at hand has models."""

from __future__ import annotations

import base64
import secrets
from typing import Any
from uuid import uuid4

from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from tests.emulators.background import Background

HOST = "acme-keys.vault.azure.net"
_OAEP = padding.OAEP(padding.MGF1(SHA256()), SHA256(), None)
_PSS = padding.PSS(padding.MGF1(SHA256()), padding.PSS.DIGEST_LENGTH)


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str, inner: str = "") -> None:
        super().__init__(message)
        inside = {"innererror": {"code": inner}} if inner else {}
        self.status, self.body = status, {"error": {"code": code, "message": message, **inside}}


class Vault:
    """One vault, in the background until it is closed. `rights` are those of its one identity."""

    def __init__(self) -> None:
        self._background = Background()
        self._keys: dict[str, dict[str, rsa.RSAPrivateKey]] = {}
        self.disabled: set[str] = set()
        self.rights = {"get", "wrapkey", "unwrapkey", "sign", "verify"}
        self.assertion, self.header = secrets.token_urlsafe(), secrets.token_urlsafe()
        self._tokens: set[str] = set()
        self.calls: list[str] = []
        app = web.Application()
        app.router.add_post("/login/{tenant}/oauth2/v2.0/token", self._exchanged)
        app.router.add_get("/app/token", self._given_to_app)
        app.router.add_get("/vault/{host}/keys/{name}", self._answered)
        app.router.add_post("/vault/{host}/keys/{name}/{version}/{verb}", self._answered)
        self._address = f"http://127.0.0.1:{self._background.serve(app)}"

    @property
    def endpoints(self) -> str:
        return f"{self._address}/{{service}}"

    @property
    def app_endpoint(self) -> str:
        return f"{self._address}/app/token"

    def key(self) -> str:
        """The address of a new key."""
        name = f"dcf-{uuid4().hex[:8]}"
        self.rotate(name)
        return f"https://{HOST}/keys/{name}"

    def rotate(self, name: str) -> None:
        """Make a version, the first or another."""
        made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._keys.setdefault(name, {})[uuid4().hex] = made

    def end_tokens(self) -> None:
        self._tokens.clear()

    def close(self) -> None:
        self._background.close()

    async def _exchanged(self, request: web.Request) -> web.Response:
        form = await request.post()
        if form.get("client_assertion") != self.assertion or form.get("scope") != "https://vault.azure.net/.default":
            return web.json_response({"error": "invalid_client", "error_description": "AADSTS700213"}, status=401)
        return web.json_response({"access_token": self._issued(), "expires_in": 3600, "token_type": "Bearer"})

    async def _given_to_app(self, request: web.Request) -> web.Response:
        if request.headers.get("X-IDENTITY-HEADER") != self.header or "resource" not in request.query:
            return web.json_response({"statusCode": 400, "message": "no"}, status=400)
        return web.json_response({"access_token": self._issued(), "expires_in": "3600"})

    def _issued(self) -> str:
        token = secrets.token_urlsafe()
        self._tokens.add(token)
        return token

    async def _answered(self, request: web.Request) -> web.Response:
        try:
            return web.json_response(await self._answer(request))
        except _Refused as refused:
            return web.json_response(refused.body, status=refused.status)

    async def _answer(self, request: web.Request) -> dict[str, Any]:
        name, verb = request.match_info["name"], request.match_info.get("verb", "get")
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self._tokens:
            raise _Refused(401, "Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.")
        if request.query.get("api-version") != "7.4" or request.match_info["host"] != HOST:
            raise _Refused(400, "BadParameter", "The version or the vault is not known.")
        if verb not in self.rights:
            raise _Refused(403, "Forbidden", f"Caller is not authorized to perform {verb}.", "ForbiddenByRbac")
        versions = self._keys.get(name)
        if versions is None:
            raise _Refused(404, "KeyNotFound", f"A key with (name/id) {name} was not found in this key vault.")
        self.calls.append(verb)
        if verb == "get":
            kid = f"https://{HOST}/keys/{name}/{list(versions)[-1]}"
            return {"key": {"kid": kid, "kty": "RSA"}, "attributes": {"enabled": name not in self.disabled}}
        key = versions.get(request.match_info["version"])
        if key is None:
            raise _Refused(404, "KeyNotFound", "There is no such version.")
        if name in self.disabled:
            raise _Refused(403, "Forbidden", "Operation is not allowed on a disabled key.", "KeyDisabled")
        given = await request.json()
        return {"kid": f"https://{HOST}/keys/{name}/{request.match_info['version']}", **_done(key, verb, given)}


def _done(key: rsa.RSAPrivateKey, verb: str, given: dict[str, str]) -> dict[str, Any]:
    value = _bytes(given["value"])
    if given["alg"] != {"wrapkey": "RSA-OAEP-256", "unwrapkey": "RSA-OAEP-256"}.get(verb, "PS256"):
        raise _Refused(400, "BadParameter", "Property alg has an invalid value.")
    match verb:
        case "wrapkey":
            return {"value": _text(key.public_key().encrypt(value, _OAEP))}
        case "unwrapkey":
            try:
                return {"value": _text(key.decrypt(value, _OAEP))}
            except ValueError:
                raise _Refused(400, "BadParameter", "The parameter is incorrect.") from None
        case "sign":
            return {"value": _text(key.sign(value, _PSS, Prehashed(SHA256())))}
        case _:
            try:
                key.public_key().verify(value, _bytes(given["digest"]), _PSS, Prehashed(SHA256()))
            except InvalidSignature:
                return {"value": False}
            return {"value": True}


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
