"""An API key: shown once, stored as a hash, with a role, revocable."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, assert_never
from uuid import UUID

import msgspec

from domain.event import Aggregate, Event
from domain.refusal import Conflict, Invalid, NotFound

KeyRole = Literal["owner", "admin", "developer", "viewer", "operator"]


class ApiKeyCreated(Event, frozen=True, kw_only=True, tag="api_key.created"):
    name: str
    # SHA-256 of the secret part, hexadecimal. The secret has 256 random bits, so a plain hash is enough.
    secret_hash: str
    role: KeyRole
    # Empty: all that the role allows.
    scopes: tuple[str, ...] = ()
    expires_at: datetime | None = None
    # The key whose place it takes.
    replaces: UUID | None = None
    # Empty: all of the tenant's.
    projects: tuple[UUID, ...] = ()
    # Beside what the tenant may; None: no less than that.
    requests_per_minute: int | None = None


class ApiKeyReplaced(Event, frozen=True, kw_only=True, tag="api_key.replaced"):
    """Another key has its name, role and scopes; this one works until `ends_at`."""

    replaced_by: UUID
    ends_at: datetime


class ApiKeyRevoked(Event, frozen=True, kw_only=True, tag="api_key.revoked"):
    reason: str = ""


ApiKeyEvent = ApiKeyCreated | ApiKeyReplaced | ApiKeyRevoked


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    exists: bool = False
    revoked: bool = False
    name: str = ""
    role: KeyRole = "viewer"
    scopes: tuple[str, ...] = ()
    secret_hash: str = ""
    expires_at: datetime | None = None
    created_at: datetime | None = None
    revoked_at: datetime | None = None
    replaces: UUID | None = None
    replaced_by: UUID | None = None
    projects: tuple[UUID, ...] = ()
    requests_per_minute: int | None = None


class ApiKeyUnknown(NotFound):
    """There is no such API key."""

    code = "api_key_not_found"
    remedy = "GET /api/v1/keys lists the keys there are."


class RoleOutOfPlace(Invalid):
    """An operator's key belongs to no tenant, and every other key belongs to one."""

    code = "role_out_of_place"
    remedy = "Choose a role that GET /api/v1/openapi.json shows for this request."


class ExpiryPassed(Invalid):
    """The time at which the key ends has passed already."""

    code = "expiry_passed"
    remedy = "Send an expiresAt in the future, or leave it out."


class ApiKeyEnded(Conflict):
    """The API key was revoked, has expired, or was replaced before: there is nothing to rotate."""

    code = "api_key_ended"
    remedy = "Rotate the key that took its place, or create a new one."


class ApiKeyExists(Conflict):
    """The API key was created before."""

    code = "api_key_exists"


def evolve(key: ApiKey, event: ApiKeyEvent) -> ApiKey:
    match event:
        case ApiKeyCreated():
            return ApiKey(
                exists=True,
                name=event.name,
                role=event.role,
                scopes=event.scopes,
                secret_hash=event.secret_hash,
                expires_at=event.expires_at,
                created_at=event.at,
                replaces=event.replaces,
                projects=event.projects,
                requests_per_minute=event.requests_per_minute,
            )
        case ApiKeyReplaced():
            return msgspec.structs.replace(key, replaced_by=event.replaced_by, expires_at=event.ends_at)
        case ApiKeyRevoked():
            return msgspec.structs.replace(key, revoked=True, revoked_at=event.at)
        case _:
            assert_never(event)


API_KEY = Aggregate(
    name="api_key", events=(ApiKeyCreated, ApiKeyReplaced, ApiKeyRevoked), initial=ApiKey(), evolve=evolve
)
