"""A tenant: the workspace where authorization and product limits stop."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, assert_never
from uuid import UUID

import msgspec

from domain.event import Aggregate, Event
from domain.refusal import Conflict, Forbidden, LimitReached, NotFound
from domain.sealed import Sealed

Role = Literal["owner", "admin", "developer", "viewer"]
# From the least to the most.
INVITATIONS_MAX = 100
ROLES_RISING: tuple[Role, ...] = ("viewer", "developer", "admin", "owner")


class TenantCreated(Event, frozen=True, kw_only=True, tag="tenant.created"):
    name: str
    slug: str
    plan: str


class MemberAdded(Event, frozen=True, kw_only=True, tag="tenant.member_added"):
    person_id: UUID
    role: Role


class MemberRoleChanged(Event, frozen=True, kw_only=True, tag="tenant.member_role_changed"):
    person_id: UUID
    role: Role


class MemberRemoved(Event, frozen=True, kw_only=True, tag="tenant.member_removed"):
    person_id: UUID


class MemberInvited(Event, frozen=True, kw_only=True, tag="tenant.member_invited"):
    """The e-mail is sealed under the invitation's own key, which goes when the invitation is over."""

    invitation_id: UUID
    email: Sealed
    role: Role
    # SHA-256 of the secret part, hexadecimal. The secret has 256 random bits, so a plain hash is enough.
    secret_hash: str
    expires_at: datetime


class InvitationAccepted(Event, frozen=True, kw_only=True, tag="tenant.invitation_accepted"):
    invitation_id: UUID
    person_id: UUID


class InvitationWithdrawn(Event, frozen=True, kw_only=True, tag="tenant.invitation_withdrawn"):
    invitation_id: UUID


class PlanChosen(Event, frozen=True, kw_only=True, tag="tenant.plan_chosen"):
    plan: str


class TenantSuspended(Event, frozen=True, kw_only=True, tag="tenant.suspended"):
    """Nothing of the tenant may be changed until it is resumed; what is deployed goes on serving."""

    reason: str = ""


class TenantResumed(Event, frozen=True, kw_only=True, tag="tenant.resumed"):
    pass


class TenantClosed(Event, frozen=True, kw_only=True, tag="tenant.closed"):
    """For good: no key and no member gets in any more. What was recorded stays, for operators to read and export."""

    reason: str = ""


TenantEvent = (
    TenantCreated
    | MemberAdded
    | MemberRoleChanged
    | MemberRemoved
    | MemberInvited
    | InvitationAccepted
    | InvitationWithdrawn
    | PlanChosen
    | TenantSuspended
    | TenantResumed
    | TenantClosed
)


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """One that nobody has accepted or withdrawn."""

    role: Role
    secret_hash: str
    expires_at: datetime


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    exists: bool = False
    name: str = ""
    slug: str = ""
    plan: str = ""
    # Why; None: it is not.
    suspended: str | None = None
    closed: bool = False
    members: dict[UUID, Role] = msgspec.field(default_factory=dict)
    invitations: dict[UUID, Invitation] = msgspec.field(default_factory=dict)


class TenantUnknown(NotFound):
    """There is no such tenant."""

    code = "tenant_not_found"
    remedy = "Use the tenantId that GET /api/v1/operations/tenants lists."


class TenantIsClosed(Conflict):
    """The tenant was closed, for good."""

    code = "tenant_is_closed"
    remedy = "Work in another tenant: a closed one stays closed."


class TenantExists(Conflict):
    """The tenant was created before."""

    code = "tenant_exists"


class AlreadyMember(Conflict):
    """The person is a member of the tenant already."""

    code = "already_member"
    remedy = "Change their role instead."


class MemberUnknown(NotFound):
    """The person is no member of the tenant."""

    code = "member_not_found"
    remedy = "GET /api/v1/tenant/members lists the members."


class InvitationUnknown(NotFound):
    """There is no such invitation, or it was accepted or withdrawn."""

    code = "invitation_not_found"
    remedy = "Ask whoever invited you for a new one."


class InvitationForAnother(Forbidden):
    """The invitation was sent to an e-mail address that is not verified as the caller's."""

    code = "invitation_for_another"
    remedy = (
        "Sign in with the e-mail address you were invited by, verified by who you sign in with; "
        "or give an owner the id that GET /api/v1/me shows, for POST /api/v1/tenant/members."
    )


class InvitationExpired(Conflict):
    """The invitation has expired."""

    code = "invitation_expired"
    remedy = "Ask whoever invited you for a new one."


class TooManyInvitations(LimitReached):
    """The tenant has as many open invitations as there may be."""

    code = "too_many_invitations"
    remedy = "Withdraw those that are no longer needed."


class LastOwner(Conflict):
    """A tenant keeps at least one owner, and this is the last."""

    code = "last_owner"
    remedy = "Make another member an owner first."


class RoleAboveOwn(Forbidden):
    """Nobody gives, changes or takes away a role above their own."""

    code = "role_above_own"
    remedy = "Ask somebody who has that role."


def evolve(tenant: Tenant, event: TenantEvent) -> Tenant:
    match event:
        case TenantCreated():
            return Tenant(exists=True, name=event.name, slug=event.slug, plan=event.plan)
        case MemberAdded() | MemberRoleChanged():
            return msgspec.structs.replace(tenant, members={**tenant.members, event.person_id: event.role})
        case MemberRemoved():
            left = {id: role for id, role in tenant.members.items() if id != event.person_id}
            return msgspec.structs.replace(tenant, members=left)
        case MemberInvited():
            made = Invitation(role=event.role, secret_hash=event.secret_hash, expires_at=event.expires_at)
            return msgspec.structs.replace(tenant, invitations={**tenant.invitations, event.invitation_id: made})
        case InvitationAccepted() | InvitationWithdrawn():
            open_ones = {id: one for id, one in tenant.invitations.items() if id != event.invitation_id}
            return msgspec.structs.replace(tenant, invitations=open_ones)
        case PlanChosen():
            return msgspec.structs.replace(tenant, plan=event.plan)
        case TenantSuspended():
            return msgspec.structs.replace(tenant, suspended=event.reason)
        case TenantResumed():
            return msgspec.structs.replace(tenant, suspended=None)
        case TenantClosed():
            return msgspec.structs.replace(tenant, closed=True, invitations={})
        case _:
            assert_never(event)


TENANT = Aggregate(
    name="tenant",
    events=(
        TenantCreated,
        MemberAdded,
        MemberRoleChanged,
        MemberRemoved,
        MemberInvited,
        InvitationAccepted,
        InvitationWithdrawn,
        PlanChosen,
        TenantSuspended,
        TenantResumed,
        TenantClosed,
    ),
    initial=Tenant(),
    evolve=evolve,
)


def require_within(own: str | None, *roles: Role) -> None:
    """Raise RoleAboveOwn unless who has the role `own` may decide about all of these; None: the service itself."""
    if own is None:
        return
    allowed = ROLES_RISING[: ROLES_RISING.index(own) + 1] if own in ROLES_RISING else ()
    above = [role for role in roles if role not in allowed]
    if above:
        raise RoleAboveOwn(f"The role {above[0]} is above {own}.")
