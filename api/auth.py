"""Who is calling: an API key becomes a principal, and a principal may do what its operation asks for."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import structlog
from litestar import Request

from api.api_keys import parse_key
from api.exchange import exchange_of
from api.id_tokens import looks_like_one
from api.operation import Operation, operation_of
from api.principal import Principal, permissions_of
from api.rate_limits import RateLimits
from api.refusals import (
    CredentialMissing,
    CredentialUnknown,
    NoMembership,
    NotAMember,
    PermissionMissing,
    TenantNotChosen,
)
from api.sign_in import SignIn
from api.trusted_issuers import TrustedIssuer
from commands.basis import fold
from domain.api_key import API_KEY, ApiKey
from domain.event import SYSTEM_TENANT
from domain.project import ProjectUnknown
from domain.refusal import Refusal
from domain.tenant import TENANT, Tenant
from eventstore.key_uses import APART, KeyUses
from eventstore.log import Log
from eventstore.meta import Actor
from eventstore.session import LOST
from process.key_service import KeyServiceUnusable
from projections.api_keys import API_KEY_NAMED, ApiKeyRow
from projections.query import Found
from projections.reader import Reader

# How long a revoked key may still be taken.
CACHE_SECONDS = 0.5
CACHED_MAX = 10_000

# The hash of a credential, and the tenant chosen beside it.
_Key = tuple[bytes, str | None]

_SCHEME = "bearer "
_NEW_KEY = "Ask an owner of the tenant for a new key."


class _Known(msgspec.Struct, frozen=True):
    principal: Principal
    expires_at: datetime | None
    until: float


class Authenticator:
    """Checks credentials, remembering each good one for CACHE_SECONDS, unless its caller may nothing yet.

    A credential is an API key, or an ID token where people may sign in. The read model says whose a key is; whether it was
    revoked is asked of the log, which is never behind.
    """

    def __init__(
        self,
        reader: Reader,
        log: Log,
        uses: KeyUses,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
        sign_in: SignIn | None = None,
    ) -> None:
        self._sign_in = sign_in
        self._reader, self._log, self._uses, self._clock, self._monotonic = reader, log, uses, clock, monotonic
        self._known: dict[_Key, _Known] = {}
        self._looking: dict[_Key, asyncio.Task[_Known]] = {}
        # When the use of each key was noted last, so that most requests need not ask.
        self._noted: dict[UUID, float] = {}

    @property
    def issuers(self) -> tuple[TrustedIssuer, ...]:
        """With whom people may sign in."""
        return () if self._sign_in is None else self._sign_in.tokens.issuers

    async def vouched_email(self, authorization: str | None) -> str | None:
        """The e-mail address that the issuer of an ID token says it verified; None where it says so of none.

        Raises as `principal`.
        """
        text = (authorization or "")[len(_SCHEME) :].strip()
        if self._sign_in is None or not looks_like_one(text):
            return None
        return (await self._sign_in.tokens.identity(text)).email

    async def principal(self, authorization: str | None, chosen: str | None = None, *, anew: bool = False) -> Principal:
        """The caller an Authorization header names, acting in the tenant a Dcf-Tenant header chose; `anew`: not as remembered.

        Raises CredentialMissing, CredentialUnknown, NotAMember, IssuerAway.
        """
        if authorization is None:
            raise CredentialMissing
        if authorization[: len(_SCHEME)].lower() != _SCHEME:
            raise CredentialMissing("The Authorization header does not hold a bearer token.")
        text = authorization[len(_SCHEME) :].strip()
        # Kept under a hash, so that no credential stays in memory.
        digest = hashlib.sha256(text.encode()).digest()
        known = self._known.get((digest, chosen))
        if anew or known is None or known.until <= self._monotonic():
            known = await self._looked_up((digest, chosen), text)
        if known.expires_at is not None and known.expires_at <= self._clock():
            raise _expired("ID token" if known.principal.actor.type == "person" else "API key", known.expires_at)
        return known.principal

    def forget(self, actor_id: UUID) -> None:
        """Remember nothing of a caller about whom something changed just now."""
        self._known = {key: known for key, known in self._known.items() if known.principal.actor.id != str(actor_id)}

    async def _looked_up(self, key: _Key, text: str) -> _Known:
        """Look it up once for all who ask at the same time, whoever of them leaves meanwhile."""
        looking = self._looking.get(key)
        if looking is None:
            looking = self._looking[key] = asyncio.create_task(self._look_up(text, key[1]))
            looking.add_done_callback(lambda ended: self._ended(key, ended))
        return await asyncio.shield(looking)

    def _ended(self, key: _Key, ended: asyncio.Task[_Known]) -> None:
        del self._looking[key]
        if ended.cancelled() or ended.exception() is not None:
            return
        known = ended.result()
        if known.principal.role == "none":
            return  # Whoever was just invited in would be told for a while that they are not.
        if len(self._known) >= CACHED_MAX:
            self._known.clear()
        self._known[key] = known

    async def _look_up(self, text: str, chosen: str | None) -> _Known:
        if self._sign_in is not None and looks_like_one(text):
            principal, expires_at = await self._sign_in.principal(text, chosen)
            return _Known(principal, expires_at, self._monotonic() + CACHE_SECONDS)
        known = await self._look_up_key(text)
        if chosen is not None and chosen.strip() != str(known.principal.tenant_id):
            raise NotAMember("The header Dcf-Tenant names another tenant than the API key belongs to.")
        return known

    async def _look_up_key(self, text: str) -> _Known:
        key = parse_key(text)
        if key is None:
            raise CredentialUnknown
        found = await self._reader.one(API_KEY_NAMED, None, key.key_id)
        if found is None or not hmac.compare_digest(found.row.secret_hash, key.secret_hash):
            raise CredentialUnknown
        state: ApiKey = await fold(self._log, API_KEY, API_KEY.stream(found.tenant_id, key.key_id))
        # From here on the caller has proven to know the key, and may know what became of it.
        if state.revoked:
            raise CredentialUnknown("The API key was revoked.", remedy=_NEW_KEY)
        if (await _tenant_of(self._log, found.tenant_id)).closed:
            raise CredentialUnknown("The tenant of the API key was closed.")
        if state.expires_at is not None and state.expires_at <= self._clock():
            raise _expired("API key", state.expires_at)
        await self._note_use(found.tenant_id, key.key_id)
        return _Known(_principal(found), state.expires_at, self._monotonic() + CACHE_SECONDS)

    async def _note_use(self, tenant_id: UUID, key_id: UUID) -> None:
        """A use that cannot be noted is no reason to turn anybody away."""
        now = self._monotonic()
        if self._noted.get(key_id, -math.inf) > now - APART.total_seconds():
            return
        if len(self._noted) >= CACHED_MAX:
            self._noted.clear()
        self._noted[key_id] = now
        try:
            await self._uses.note(tenant_id, key_id, self._clock())
        except (asyncpg.PostgresError, *LOST) as problem:
            structlog.get_logger().warning("key_use_not_noted", key_id=str(key_id), problem=str(problem))


async def _tenant_of(log: Log, tenant_id: UUID) -> Tenant:
    state: Tenant = await fold(log, TENANT, TENANT.stream(tenant_id, tenant_id))
    return state


def _expired(what: str, at: datetime) -> CredentialUnknown:
    return CredentialUnknown(f"The {what} expired at {at:%Y-%m-%dT%H:%M:%SZ}.", remedy=_NEW_KEY)


def _principal(found: Found[ApiKeyRow]) -> Principal:
    row = found.row
    is_operator = found.tenant_id == SYSTEM_TENANT
    return Principal(
        tenant_id=found.tenant_id,
        actor=Actor("operator" if is_operator else "key", str(row.key_id)),
        role=row.role,
        permissions=permissions_of(row.role, row.scopes, projects=row.projects),
        projects=frozenset(row.projects),
        requests_per_minute=row.requests_per_minute,
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
    credential, chosen = exchange.header(b"authorization"), exchange.header(b"dcf-tenant")
    principal = await authenticator.principal(credential, chosen)
    if operation.permission not in principal.permissions and principal.memberships and principal.role != "none":
        # What is remembered of a member is no ground to refuse them: their role may have changed since.
        principal = await authenticator.principal(credential, chosen, anew=True)
    exchange.principal = principal
    rate_limits: RateLimits = request.app.state["rate_limits"]
    exchange.limits = await rate_limits.spend(principal)
    if operation.writes:
        rate_limits.require_open(principal)
    if operation.permission not in principal.permissions:
        if principal.role == "none":
            raise TenantNotChosen if principal.memberships else NoMembership
        of_what = "A key for some projects" if principal.projects else f"The role {principal.role} of the caller"
        raise PermissionMissing(
            f"{of_what} does not allow {operation.permission}.",
        )
    if principal.projects:
        _require_within(request, operation, principal)


async def is_still_allowed(request: Request[Any, Any, Any]) -> bool:
    """Whether a request that was allowed would be now, in the same tenant; it is not counted again."""
    exchange, operation = exchange_of(request.scope), operation_of(request.route_handler)
    before = exchange.principal
    if before is None:
        return operation.permission == "public"
    authenticator: Authenticator = request.app.state["authenticator"]
    try:
        now = await authenticator.principal(exchange.header(b"authorization"), str(before.tenant_id))
    except (Refusal, KeyServiceUnusable):  # Nobody is known whose name would first have to be closed.
        return False
    return operation.permission in now.permissions and now.projects == before.projects


def _require_within(request: Request[Any, Any, Any], operation: Operation, principal: Principal) -> None:
    """Any other project is to a key for some what a project is that never was. Raises ProjectUnknown or PermissionMissing."""
    project_id = request.path_params.get("project_id")
    if project_id is not None:
        if not principal.is_for(UUID(str(project_id))):
            raise ProjectUnknown
    elif operation.permission not in ("self", "catalogue:read") and not operation.within_projects:
        raise PermissionMissing(
            "A key for some projects does not allow this.", remedy="Use a key for the whole tenant."
        )
