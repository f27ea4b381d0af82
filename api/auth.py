"""Who is calling: an API key becomes a principal, and a principal may do what its operation asks for."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from litestar import Request

from api.api_keys import parse_key
from api.exchange import exchange_of
from api.operation import operation_of
from api.principal import Principal, permissions_of
from api.refusals import CredentialMissing, CredentialUnknown, PermissionMissing
from domain.event import SYSTEM_TENANT
from eventstore.meta import Actor
from projections.api_keys import API_KEY_NAMED, ApiKeyRow
from projections.query import Found
from projections.reader import Reader

# How long a revoked key may still be taken.
CACHE_SECONDS = 0.5
CACHED_MAX = 10_000

_SCHEME = "bearer "


class _Known(msgspec.Struct, frozen=True):
    principal: Principal
    expires_at: datetime | None
    until: float


class Authenticator:
    """Checks credentials against the read model of keys, remembering each good one for CACHE_SECONDS."""

    def __init__(
        self, reader: Reader, clock: Callable[[], datetime], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._reader, self._clock, self._monotonic = reader, clock, monotonic
        self._known: dict[bytes, _Known] = {}

    async def principal(self, authorization: str | None) -> Principal:
        """The caller an Authorization header names. Raises CredentialMissing or CredentialUnknown."""
        if authorization is None:
            raise CredentialMissing
        if authorization[: len(_SCHEME)].lower() != _SCHEME:
            raise CredentialMissing("The Authorization header does not hold a bearer token.")
        text = authorization[len(_SCHEME) :].strip()
        # Kept under a hash, so that no credential stays in memory.
        digest = hashlib.sha256(text.encode()).digest()
        known = self._known.get(digest)
        if known is None or known.until <= self._monotonic():
            known = await self._look_up(text)
            if len(self._known) >= CACHED_MAX:
                self._known.clear()
            self._known[digest] = known
        if known.expires_at is not None and known.expires_at <= self._clock():
            raise CredentialUnknown
        return known.principal

    async def _look_up(self, text: str) -> _Known:
        key = parse_key(text)
        if key is None:
            raise CredentialUnknown
        found = await self._reader.one(API_KEY_NAMED, None, key.key_id)
        if found is None or not hmac.compare_digest(found.row.secret_hash, key.secret_hash):
            raise CredentialUnknown
        if found.row.revoked_at is not None:
            raise CredentialUnknown
        return _Known(_principal(found), found.row.expires_at, self._monotonic() + CACHE_SECONDS)


def _principal(found: Found[ApiKeyRow]) -> Principal:
    row = found.row
    is_operator = found.tenant_id == SYSTEM_TENANT
    return Principal(
        tenant_id=found.tenant_id,
        actor=Actor("operator" if is_operator else "key", str(row.key_id)),
        role=row.role,
        permissions=permissions_of(row.role, row.scopes),
    )


async def authorize(request: Request[Any, Any, Any]) -> None:
    """What Litestar calls before every handler: only what the operation's permission allows goes on to it.

    A guard would say the same, but Litestar copies the handler for each guard of each request.
    """
    operation = operation_of(request.route_handler)
    exchange = exchange_of(request.scope)
    exchange.operation = operation.name
    if operation.permission == "public":
        return
    authenticator: Authenticator = request.app.state["authenticator"]
    principal = await authenticator.principal(exchange.header(b"authorization"))
    exchange.principal = principal
    if operation.permission not in principal.permissions:
        raise PermissionMissing(
            f"The role {principal.role} of this key does not allow {operation.permission}.",
            remedy="Use a key whose role and scopes allow it.",
        )
