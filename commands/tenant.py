"""Commands about tenants, their members and plans."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never
from uuid import UUID

from commands.command import Command, Decider, Reads, States, facts
from commands.limits import limits_of
from domain.api_key import ExpiryPassed
from domain.event import SYSTEM_TENANT, Claim, Counter, Decision
from domain.naming import check_name, slug
from domain.person import PERSON, PersonUnknown
from domain.plan import PLAN, PlanUnknown, plan_stream
from domain.refusal import FieldError
from domain.sealed import Sealed
from domain.tenant import (
    INVITATIONS_MAX,
    TENANT,
    AlreadyMember,
    Invitation,
    InvitationAccepted,
    InvitationExpired,
    InvitationUnknown,
    InvitationWithdrawn,
    LastOwner,
    MemberAdded,
    MemberInvited,
    MemberRemoved,
    MemberRoleChanged,
    MemberUnknown,
    PlanChosen,
    Role,
    Tenant,
    TenantClosed,
    TenantCreated,
    TenantEvent,
    TenantExists,
    TenantIsClosed,
    TenantResumed,
    TenantSuspended,
    TenantUnknown,
    TooManyInvitations,
    require_within,
)


class CreateTenant(Command, frozen=True, kw_only=True, tag="CreateTenant"):
    """`tenant_id` is the new tenant's own id."""

    name: str
    plan: str


class AddMember(Command, frozen=True, kw_only=True, tag="AddMember"):
    """`asked_by` is the role of who asks; None: the service itself."""

    person_id: UUID
    role: Role
    asked_by: str | None = None


class ChangeRole(Command, frozen=True, kw_only=True, tag="ChangeRole"):
    person_id: UUID
    role: Role
    asked_by: str | None = None


class RemoveMember(Command, frozen=True, kw_only=True, tag="RemoveMember"):
    person_id: UUID
    asked_by: str | None = None


class InviteMember(Command, frozen=True, kw_only=True, tag="InviteMember"):
    """Only the hash of the invitation's secret ever reaches us; the e-mail arrives sealed under the invitation's key."""

    invitation_id: UUID
    email: Sealed
    role: Role
    secret_hash: str
    expires_at: datetime
    asked_by: str | None = None


class AcceptInvitation(Command, frozen=True, kw_only=True, tag="AcceptInvitation"):
    """Asked by the person, who belongs to the tenant only afterwards."""

    invitation_id: UUID
    secret_hash: str
    person_id: UUID


class WithdrawInvitation(Command, frozen=True, kw_only=True, tag="WithdrawInvitation"):
    invitation_id: UUID
    asked_by: str | None = None


class ChoosePlan(Command, frozen=True, kw_only=True, tag="ChoosePlan"):
    plan: str


class SuspendTenant(Command, frozen=True, kw_only=True, tag="SuspendTenant"):
    reason: str = ""


class ResumeTenant(Command, frozen=True, kw_only=True, tag="ResumeTenant"):
    pass


class CloseTenant(Command, frozen=True, kw_only=True, tag="CloseTenant"):
    reason: str = ""


TenantCommand = (
    CreateTenant
    | AddMember
    | ChangeRole
    | RemoveMember
    | InviteMember
    | AcceptInvitation
    | WithdrawInvitation
    | ChoosePlan
    | SuspendTenant
    | ResumeTenant
    | CloseTenant
)


def reads(command: TenantCommand) -> Reads:
    yield TENANT, TENANT.stream(command.tenant_id, command.tenant_id)


def decide(command: TenantCommand, states: States) -> Decision:
    tenant = states.of(TENANT, command.tenant_id, command.tenant_id)
    if not isinstance(command, CreateTenant) and not tenant.exists:
        raise TenantUnknown
    if tenant.closed and not isinstance(command, CreateTenant | CloseTenant | RemoveMember):
        raise TenantIsClosed
    match command:
        case CreateTenant():
            if tenant.exists:
                raise TenantExists
            return _create(command, states)
        case AddMember():
            require_within(command.asked_by, command.role)
            if command.person_id in tenant.members:
                raise AlreadyMember
            return _add_member(command, states)
        case ChangeRole():
            return _change_role(command, tenant)
        case RemoveMember():
            return _remove_member(command, tenant)
        case InviteMember() | AcceptInvitation() | WithdrawInvitation():
            return _about_invitations(command, tenant, states)
        case ChoosePlan():
            _require_plan(command.plan, states)
            return _record(command, PlanChosen(plan=command.plan)) if command.plan != tenant.plan else Decision()
        case SuspendTenant() | ResumeTenant() | CloseTenant():
            return _about_standing(command, tenant)
        case _:
            assert_never(command)


def _create(command: CreateTenant, states: States) -> Decision:
    check_name(command.name)
    _require_plan(command.plan, states)
    segment = slug(command.name)
    # Tenants share one space of names: theirs is the first segment of every function's address.
    claim = Claim(tenant_id=SYSTEM_TENANT, scope="tenant", key=segment, holder=command.tenant_id)
    created = TenantCreated(name=command.name, slug=segment, plan=command.plan)
    return Decision(facts=_record(command, created).facts, claims=(claim,))


def founded(command: CreateTenant, *, owner: UUID, states: States) -> Decision:
    """A new tenant with its owner, who is registered by the same command. Raises TenantExists, PlanUnknown."""
    if states.of(TENANT, command.tenant_id, command.tenant_id).exists:
        raise TenantExists
    made = _create(command, states)
    added = _record(command, MemberAdded(person_id=owner, role="owner"))
    counted = Counter(tenant_id=command.tenant_id, scope="members", name="tenant", delta=1)
    return Decision(facts=(*made.facts, *added.facts), claims=made.claims, counters=(counted,))


def _add_member(command: AddMember, states: States) -> Decision:
    _require_person(command.person_id, states)
    added = MemberAdded(person_id=command.person_id, role=command.role)
    return Decision(facts=_record(command, added).facts, counters=(_one_more(command, states),))


def _about_standing(command: SuspendTenant | ResumeTenant | CloseTenant, tenant: Tenant) -> Decision:
    if isinstance(command, CloseTenant):
        return Decision() if tenant.closed else _record(command, TenantClosed(reason=command.reason))
    reason = command.reason if isinstance(command, SuspendTenant) else None
    if reason == tenant.suspended:
        return Decision()
    return _record(command, TenantResumed() if reason is None else TenantSuspended(reason=reason))


def _about_invitations(
    command: InviteMember | AcceptInvitation | WithdrawInvitation, tenant: Tenant, states: States
) -> Decision:
    match command:
        case InviteMember():
            return _invite(command, tenant)
        case AcceptInvitation():
            return _accept(command, tenant, states)
        case WithdrawInvitation():
            require_within(command.asked_by, _invitation(tenant, command.invitation_id).role)
            return _record(command, InvitationWithdrawn(invitation_id=command.invitation_id))
        case _:
            assert_never(command)


def _invite(command: InviteMember, tenant: Tenant) -> Decision:
    require_within(command.asked_by, command.role)
    if command.expires_at <= command.at:
        raise ExpiryPassed(errors=(FieldError(field="expiresAt", message="in the past"),))
    standing = sum(invitation.expires_at > command.at for invitation in tenant.invitations.values())
    if standing >= INVITATIONS_MAX:
        raise TooManyInvitations(f"{standing} of at most {INVITATIONS_MAX} invitations are open.")
    invited = MemberInvited(
        invitation_id=command.invitation_id,
        email=command.email,
        role=command.role,
        secret_hash=command.secret_hash,
        expires_at=command.expires_at,
    )
    return _record(command, invited)


def _accept(command: AcceptInvitation, tenant: Tenant, states: States) -> Decision:
    invitation = _invitation(tenant, command.invitation_id)
    if invitation.secret_hash != command.secret_hash:
        raise InvitationUnknown
    if invitation.expires_at <= command.at:
        raise InvitationExpired
    if command.person_id in tenant.members:
        raise AlreadyMember
    _require_person(command.person_id, states)
    stream = TENANT.stream(command.tenant_id, command.tenant_id)
    accepted = InvitationAccepted(invitation_id=command.invitation_id, person_id=command.person_id)
    added = MemberAdded(person_id=command.person_id, role=invitation.role)
    return Decision(facts=facts(stream, accepted, added), counters=(_one_more(command, states),))


def _invitation(tenant: Tenant, invitation_id: UUID) -> Invitation:
    try:
        return tenant.invitations[invitation_id]
    except KeyError:
        raise InvitationUnknown from None


def _require_person(person_id: UUID, states: States) -> None:
    person = states.of(PERSON, SYSTEM_TENANT, person_id)
    if not person.exists or person.erased:
        raise PersonUnknown


def _one_more(command: TenantCommand, states: States) -> Counter:
    limit = limits_of(command.tenant_id, states).members
    return Counter(tenant_id=command.tenant_id, scope="members", name="tenant", delta=1, limit=limit)


def _change_role(command: ChangeRole, tenant: Tenant) -> Decision:
    role = _role_of(tenant, command.person_id)
    require_within(command.asked_by, role, command.role)
    if role == command.role:
        return Decision()
    require_other_owner(tenant, command.person_id)
    return _record(command, MemberRoleChanged(person_id=command.person_id, role=command.role))


def _remove_member(command: RemoveMember, tenant: Tenant) -> Decision:
    role = _role_of(tenant, command.person_id)
    require_within(command.asked_by, role)
    require_other_owner(tenant, command.person_id)
    return membership_ended(command.tenant_id, command.person_id)


def membership_ended(tenant_id: UUID, person_id: UUID) -> Decision:
    """A member is none any more, and makes room for another."""
    removed = facts(TENANT.stream(tenant_id, tenant_id), MemberRemoved(person_id=person_id))
    count = Counter(tenant_id=tenant_id, scope="members", name="tenant", delta=-1)
    return Decision(facts=removed, counters=(count,))


def _role_of(tenant: Tenant, person_id: UUID) -> Role:
    try:
        return tenant.members[person_id]
    except KeyError:
        raise MemberUnknown from None


def require_other_owner(tenant: Tenant, person_id: UUID) -> None:
    """Raise LastOwner if nobody would be one without this member."""
    if not tenant.closed and [id for id, role in tenant.members.items() if role == "owner"] == [person_id]:
        raise LastOwner(f"{tenant.name} would have no owner without this member.")


def _require_plan(name: str, states: States) -> None:
    if states.at(PLAN, plan_stream(name)).limits is None:
        raise PlanUnknown(errors=(FieldError(field="plan", message="no such plan"),))


def _record(command: TenantCommand, event: TenantEvent) -> Decision:
    return Decision(facts=facts(TENANT.stream(command.tenant_id, command.tenant_id), event))


TENANTS = Decider(
    commands=(
        CreateTenant,
        AddMember,
        ChangeRole,
        RemoveMember,
        InviteMember,
        AcceptInvitation,
        WithdrawInvitation,
        ChoosePlan,
        SuspendTenant,
        ResumeTenant,
        CloseTenant,
    ),
    reads=reads,
    decide=decide,
)
