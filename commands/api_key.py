"""Commands about API keys."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import assert_never
from uuid import UUID

from commands.command import Command, Decider, Reads, States, facts
from domain.api_key import (
    API_KEY,
    ApiKey,
    ApiKeyCreated,
    ApiKeyEnded,
    ApiKeyExists,
    ApiKeyReplaced,
    ApiKeyRevoked,
    ApiKeyUnknown,
    ExpiryPassed,
    KeyRole,
    RoleOutOfPlace,
)
from domain.event import SYSTEM_TENANT, Decision
from domain.project import PROJECT, ProjectUnknown
from domain.refusal import FieldError
from domain.tenant import TENANT, TenantUnknown, require_within


class CreateApiKey(Command, frozen=True, kw_only=True, tag="CreateApiKey"):
    """Only the hash of the secret ever reaches us. `asked_by` is the role of who asks; None: the service itself.

    Without `projects` it is for all of the tenant's. Rotation keeps both these and `requests_per_minute`.
    """

    key_id: UUID
    name: str
    secret_hash: str
    role: KeyRole
    scopes: tuple[str, ...] = ()
    expires_at: datetime | None = None
    asked_by: str | None = None
    projects: tuple[UUID, ...] = ()
    requests_per_minute: int | None = None


# How long the former key goes on when nothing else is said.
OVERLAP = timedelta(hours=24)


class RotateApiKey(Command, frozen=True, kw_only=True, tag="RotateApiKey"):
    """A key of id `key_id` takes the place of another, which works until `overlap_until`, a day from now if that is None.

    Without `expires_at` the new one lives as long as the other was given to live.
    """

    key_id: UUID
    replaces: UUID
    secret_hash: str
    overlap_until: datetime | None = None
    expires_at: datetime | None = None
    asked_by: str | None = None


class RevokeApiKey(Command, frozen=True, kw_only=True, tag="RevokeApiKey"):
    key_id: UUID
    reason: str = ""
    asked_by: str | None = None


ApiKeyCommand = CreateApiKey | RotateApiKey | RevokeApiKey


def reads(command: ApiKeyCommand) -> Reads:
    yield API_KEY, API_KEY.stream(command.tenant_id, command.key_id)
    if isinstance(command, RotateApiKey):
        yield API_KEY, API_KEY.stream(command.tenant_id, command.replaces)
    if isinstance(command, CreateApiKey):
        yield from ((PROJECT, PROJECT.stream(command.tenant_id, project_id)) for project_id in command.projects)


def decide(command: ApiKeyCommand, states: States) -> Decision:
    stream = API_KEY.stream(command.tenant_id, command.key_id)
    key = states.at(API_KEY, stream)
    match command:
        case CreateApiKey():
            if key.exists:
                raise ApiKeyExists
            _require_place(command, states)
            _require_role(command.role, command.asked_by)
            _require_projects(command, states)
            if command.expires_at is not None and command.expires_at <= command.at:
                raise ExpiryPassed(errors=(FieldError(field="expiresAt", message="in the past"),))
            created = ApiKeyCreated(
                name=command.name,
                secret_hash=command.secret_hash,
                role=command.role,
                scopes=command.scopes,
                expires_at=command.expires_at,
                projects=command.projects,
                requests_per_minute=command.requests_per_minute,
            )
            return Decision(facts=facts(stream, created))
        case RotateApiKey():
            if key.exists:
                raise ApiKeyExists
            return _rotate(command, states)
        case RevokeApiKey():
            if not key.exists:
                raise ApiKeyUnknown
            _require_role(key.role, command.asked_by)
            return Decision() if key.revoked else Decision(facts=facts(stream, ApiKeyRevoked(reason=command.reason)))
        case _:
            assert_never(command)


def _rotate(command: RotateApiKey, states: States) -> Decision:
    stream = API_KEY.stream(command.tenant_id, command.replaces)
    former: ApiKey = states.at(API_KEY, stream)
    if not former.exists:
        raise ApiKeyUnknown
    _require_role(former.role, command.asked_by)
    expired = former.expires_at is not None and former.expires_at <= command.at
    if former.revoked or expired or former.replaced_by is not None:
        raise ApiKeyEnded
    for field, moment in (("overlapUntil", command.overlap_until), ("expiresAt", command.expires_at)):
        if moment is not None and moment <= command.at:
            raise ExpiryPassed(errors=(FieldError(field=field, message="in the past"),))
    overlap = command.overlap_until or command.at + OVERLAP
    ends_at = overlap if former.expires_at is None else min(overlap, former.expires_at)
    created = ApiKeyCreated(
        name=former.name,
        secret_hash=command.secret_hash,
        role=former.role,
        scopes=former.scopes,
        expires_at=command.expires_at or _as_long(former, command.at),
        replaces=command.replaces,
        projects=former.projects,
        requests_per_minute=former.requests_per_minute,
    )
    replaced = ApiKeyReplaced(replaced_by=command.key_id, ends_at=ends_at)
    new = API_KEY.stream(command.tenant_id, command.key_id)
    return Decision(facts=(*facts(new, created), *facts(stream, replaced)))


def _as_long(former: ApiKey, at: datetime) -> datetime | None:
    """When a key that lives as long as the former one was given to live ends."""
    if former.expires_at is None or former.created_at is None:
        return former.expires_at
    return at + (former.expires_at - former.created_at)


def _require_place(command: CreateApiKey, states: States) -> None:
    if (command.role == "operator") != (command.tenant_id == SYSTEM_TENANT):
        raise RoleOutOfPlace(errors=(FieldError(field="role", message=f"not {command.role} here"),))
    if command.role != "operator" and not states.of(TENANT, command.tenant_id, command.tenant_id).exists:
        raise TenantUnknown


def _require_projects(command: CreateApiKey, states: States) -> None:
    if command.projects and command.role == "operator":
        raise RoleOutOfPlace(errors=(FieldError(field="projects", message="an operator's key is for none"),))
    for number, project_id in enumerate(command.projects):
        if not states.of(PROJECT, command.tenant_id, project_id).exists:
            raise ProjectUnknown(errors=(FieldError(field=f"projects[{number}]", message="no such project"),))


def _require_role(role: KeyRole, asked_by: str | None) -> None:
    if role != "operator":  # Operators have no one above them, and nobody else has a key in their place.
        require_within(asked_by, role)


API_KEYS = Decider(commands=(CreateApiKey, RotateApiKey, RevokeApiKey), reads=reads, decide=decide)
