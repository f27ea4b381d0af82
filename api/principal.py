"""Who is calling, in which tenant, and what that allows: the one table of roles and permissions."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, get_args
from uuid import UUID

import msgspec

from domain.api_key import KeyRole
from domain.event import SYSTEM_TENANT
from domain.tenant import Role
from eventstore.meta import Actor

Permission = Literal[
    "self",
    "tenant:read",
    "members:write",
    "keys:read",
    "keys:write",
    "catalogue:read",
    "projects:read",
    "projects:write",
    "functions:read",
    "functions:write",
    "secrets:write",
    "artifacts:read",
    "artifacts:write",
    "integrations:read",
    "integrations:write",
    "deployments:read",
    "deployments:write",
    "webhooks:read",
    "webhooks:write",
    "functions:call",
    "audit:read",
    "audit:export",
    "operate",
]
# `none`: somebody who signed in and acts in no tenant.
PrincipalRole = KeyRole | Literal["none"]
PERMISSIONS: tuple[Permission, ...] = get_args(Permission)

# What everybody may who is somebody at all.
_ANYBODY: frozenset[Permission] = frozenset({"self"})
_READ: frozenset[Permission] = _ANYBODY | frozenset(
    {
        "tenant:read",
        "catalogue:read",
        "projects:read",
        "functions:read",
        "artifacts:read",
        "integrations:read",
        "deployments:read",
        "functions:call",
        "audit:read",
    }
)
_DEVELOP: frozenset[Permission] = _READ | {
    "functions:write",
    "secrets:write",
    "artifacts:write",
    "deployments:write",
    "webhooks:read",
}
_ADMINISTER: frozenset[Permission] = _DEVELOP | {
    "audit:export",
    "projects:write",
    "integrations:write",
    "webhooks:write",
    "members:write",
    "keys:read",
    "keys:write",
}

# What is not listed for a role is denied. Operators look after the service; no tenant's things are theirs.
ALLOWED: dict[PrincipalRole, frozenset[Permission]] = {
    "viewer": _READ,
    "developer": _DEVELOP,
    "admin": _ADMINISTER,
    "owner": _ADMINISTER,
    "none": _ANYBODY,
    "operator": _ANYBODY
    | frozenset({"tenant:read", "catalogue:read", "keys:read", "keys:write", "audit:read", "audit:export", "operate"}),
}


# What a key for some projects may do at most: what is about things in projects, and what is the same for everybody.
WITHIN_PROJECTS: frozenset[str] = _ANYBODY | frozenset(
    {
        "catalogue:read",
        "projects:read",
        "functions:read",
        "functions:write",
        "secrets:write",
        "artifacts:read",
        "artifacts:write",
        "integrations:read",
        "integrations:write",
        "deployments:read",
        "deployments:write",
        "webhooks:read",
        "webhooks:write",
        "functions:call",
        "audit:read",
    }
)


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant a person belongs to."""

    tenant_id: UUID
    role: Role


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A caller whose credential was checked. `permissions` is what its role and its scopes allow together."""

    tenant_id: UUID
    actor: Actor
    role: PrincipalRole
    permissions: frozenset[str]
    # Of somebody who signed in: in which tenants they have which role, the oldest first.
    memberships: tuple[Membership, ...] = ()
    # Empty: all of the tenant's.
    projects: frozenset[UUID] = frozenset()
    # Of the key by itself, beside what the tenant may.
    requests_per_minute: int | None = None

    def is_for(self, project_id: UUID) -> bool:
        """Whether the project is among those that the caller may know of."""
        return not self.projects or project_id in self.projects

    @property
    def is_narrowed(self) -> bool:
        """Whether scopes keep it from some of what its role allows."""
        return self.permissions < ALLOWED[self.role]

    @property
    def is_operator(self) -> bool:
        return self.tenant_id == SYSTEM_TENANT and self.role == "operator"


def permissions_of(role: PrincipalRole, scopes: tuple[str, ...], *, projects: Collection[UUID] = ()) -> frozenset[str]:
    """What the role allows; scopes and projects, where there are any, narrow it and never widen it."""
    allowed: frozenset[str] = ALLOWED[role]
    if projects:
        allowed &= WITHIN_PROJECTS
    return (allowed & frozenset(scopes)) | _ANYBODY if scopes else allowed
