"""The keys an issuer signs with: fetched, kept for a while, renewed when a token names an unknown one, and kept longer
when the issuer is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import jwt
import msgspec
import structlog

from api.trusted_issuers import TrustedIssuer, is_safe

FRESH_SECONDS = 3600.0
# An issuer that is away locks nobody out for so long; a key it has withdrawn meanwhile is still taken.
STALE_SECONDS_MAX = 86_400.0
# Tokens with made-up key ids make us ask the issuer no more often than this.
ASK_AGAIN_SECONDS = 10.0
FETCH_SECONDS_MAX = 5.0
FETCH_BYTES_MAX = 512 * 1024
KEYS_MAX = 100

_DISCOVERY = "/.well-known/openid-configuration"


class KeysUnavailable(Exception):
    """The issuer's keys cannot be had. The message says why."""


class IssuerKey(msgspec.Struct, frozen=True, kw_only=True):
    """A public key as it is published: `kind` is its `kty`, `curve` its `crv`; `algorithm` None: any that suits the kind."""

    kind: str
    curve: str | None
    algorithm: str | None
    key: Any

    def __repr__(self) -> str:
        return f"IssuerKey({self.kind})"


# A key that both sides share has no place in a published set.
_KINDS = ("RSA", "EC", "OKP")


class _Discovery(msgspec.Struct, frozen=True):
    issuer: str
    jwks_uri: str


class _KeySet(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


class IssuerKeys:
    """One issuer's keys, for all requests of this process. Only one of them asks the issuer at a time."""

    def __init__(
        self, issuer: TrustedIssuer, http: httpx.AsyncClient, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._issuer, self._http, self._monotonic = issuer, http, monotonic
        self._keys: Mapping[str, IssuerKey] = {}
        self._fetched_at: float | None = None
        self._asked_at: float | None = None
        self._is_away = False
        self._asking = asyncio.Lock()

    async def find(self, kid: str) -> IssuerKey | None:
        """The key with this id; None when the issuer has no such key. Raises KeysUnavailable."""
        if self._age() > FRESH_SECONDS or kid not in self._keys:
            await self._renew(kid)
        found = None if self._age() > STALE_SECONDS_MAX else self._keys.get(kid)
        if found is None and self._is_away:
            raise KeysUnavailable(f"The keys of {self._issuer.issuer} cannot be fetched.")
        return found

    async def _renew(self, kid: str) -> None:
        async with self._asking:
            if kid in self._keys and self._age() <= FRESH_SECONDS:
                return  # Somebody else has just asked.
            now = self._monotonic()
            if self._asked_at is not None and now - self._asked_at < ASK_AGAIN_SECONDS:
                return
            self._asked_at = now
            try:
                self._keys = await self._fetched()
                self._fetched_at, self._is_away = self._monotonic(), False
            except (httpx.HTTPError, httpx.InvalidURL, msgspec.MsgspecError, KeysUnavailable, TimeoutError) as problem:
                self._is_away = True
                structlog.get_logger().warning(
                    "issuer_keys_not_fetched", issuer=self._issuer.issuer, problem=str(problem) or repr(problem)
                )

    def _age(self) -> float:
        return float("inf") if self._fetched_at is None else self._monotonic() - self._fetched_at

    async def _fetched(self) -> Mapping[str, IssuerKey]:
        async with asyncio.timeout(FETCH_SECONDS_MAX):
            url = self._issuer.keys_url or await self._discovered()
            found = msgspec.json.decode(await self._content(url), type=_KeySet)
        keys = {}
        for described in found.keys[:KEYS_MAX]:
            kid = described.get("kid")
            if not isinstance(kid, str) or described.get("use", "sig") != "sig" or described.get("kty") not in _KINDS:
                continue
            try:
                keys[kid] = _usable(described)
            except jwt.PyJWTError as problem:
                structlog.get_logger().info("issuer_key_passed_over", issuer=self._issuer.issuer, problem=str(problem))
        if not keys:
            raise KeysUnavailable("there is no usable key in the set")
        return keys

    async def _discovered(self) -> str:
        """As OpenID Connect Discovery 1.0 has it: the document must be the issuer's own."""
        document = msgspec.json.decode(
            await self._content(self._issuer.issuer.rstrip("/") + _DISCOVERY), type=_Discovery
        )
        if document.issuer != self._issuer.issuer:
            raise KeysUnavailable(f"its discovery document is of {document.issuer}")
        if not is_safe(document.jwks_uri):
            raise KeysUnavailable("its discovery document names no https address for the keys")
        return document.jwks_uri

    async def _content(self, url: str) -> bytes:
        content = bytearray()
        async with self._http.stream("GET", url, headers={"Accept": "application/json"}) as answer:
            if answer.status_code != httpx.codes.OK:
                raise KeysUnavailable(f"{url} answers {answer.status_code}")
            async for piece in answer.aiter_bytes():
                content += piece
                if len(content) > FETCH_BYTES_MAX:
                    raise KeysUnavailable(f"{url} answers with more than {FETCH_BYTES_MAX} bytes")
        return bytes(content)


def _usable(described: dict[str, Any]) -> IssuerKey:
    return IssuerKey(
        kind=described["kty"],
        curve=described.get("crv"),
        algorithm=described.get("alg"),
        key=jwt.PyJWK(described).key,
    )
