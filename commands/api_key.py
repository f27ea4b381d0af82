"""Commands about API keys."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never
from uuid import UUID

from commands.command import Command, Decider, Reads, States, facts
from domain.api_key import (
    API_KEY,
    ApiKeyCreated,
    ApiKeyExists,
    ApiKeyRevoked,
    ApiKeyUnknown,
    ExpiryPassed,
    KeyRole,
    RoleOutOfPlace,
)
from domain.event import SYSTEM_TENANT, Decision
from domain.refusal import FieldError
from domain.tenant import TENANT, TenantUnknown, require_within


class CreateApiKey(Command, frozen=True, kw_only=True, tag="CreateApiKey"):
    """Only the hash of the secret ever reaches us. `asked_by` is the role of who asks; None: the service itself."""

    key_id: UUID
    name: str
    secret_hash: str
    role: KeyRole
    scopes: tuple[str, ...] = ()
    expires_at: datetime | None = None
    asked_by: str | None = None


class RevokeApiKey(Command, frozen=True, kw_only=True, tag="RevokeApiKey"):
    key_id: UUID
    reason: str = ""
    asked_by: str | None = None


ApiKeyCommand = CreateApiKey | RevokeApiKey


def reads(command: ApiKeyCommand) -> Reads:
    yield API_KEY, API_KEY.stream(command.tenant_id, command.key_id)


def decide(command: ApiKeyCommand, states: States) -> Decision:
    stream = API_KEY.stream(command.tenant_id, command.key_id)
    key = states.at(API_KEY, stream)
    match command:
        case CreateApiKey():
            if key.exists:
                raise ApiKeyExists
            _require_place(command, states)
            _require_role(command.role, command.asked_by)
            if command.expires_at is not None and command.expires_at <= command.at:
                raise ExpiryPassed(errors=(FieldError(field="expiresAt", message="in the past"),))
            created = ApiKeyCreated(
                name=command.name,
                secret_hash=command.secret_hash,
                role=command.role,
                scopes=command.scopes,
                expires_at=command.expires_at,
            )
            return Decision(facts=facts(stream, created))
        case RevokeApiKey():
            if not key.exists:
                raise ApiKeyUnknown
            _require_role(key.role, command.asked_by)
            return Decision() if key.revoked else Decision(facts=facts(stream, ApiKeyRevoked(reason=command.reason)))
        case _:
            assert_never(command)


def _require_place(command: CreateApiKey, states: States) -> None:
    if (command.role == "operator") != (command.tenant_id == SYSTEM_TENANT):
        raise RoleOutOfPlace(errors=(FieldError(field="role", message=f"not {command.role} here"),))
    if command.role != "operator" and not states.of(TENANT, command.tenant_id, command.tenant_id).exists:
        raise TenantUnknown


def _require_role(role: KeyRole, asked_by: str | None) -> None:
    if role != "operator":  # Operators have no one above them, and nobody else has a key in their place.
        require_within(asked_by, role)


API_KEYS = Decider(commands=(CreateApiKey, RevokeApiKey), reads=reads, decide=decide)
