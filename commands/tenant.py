"""Commands about tenants, their members and plans."""

from __future__ import annotations

from typing import assert_never
from uuid import UUID

from commands.command import Command, Decider, Reads, States, facts
from commands.limits import limits_of
from domain.event import SYSTEM_TENANT, Claim, Counter, Decision
from domain.naming import check_name, slug
from domain.person import PERSON, PersonUnknown
from domain.plan import PLAN, PlanUnknown, plan_stream
from domain.tenant import (
    TENANT,
    AlreadyMember,
    MemberAdded,
    PlanChosen,
    Role,
    TenantCreated,
    TenantExists,
    TenantUnknown,
)


class CreateTenant(Command, frozen=True, kw_only=True, tag="CreateTenant"):
    """`tenant_id` is the new tenant's own id."""

    name: str
    plan: str


class AddMember(Command, frozen=True, kw_only=True, tag="AddMember"):
    person_id: UUID
    role: Role


class ChoosePlan(Command, frozen=True, kw_only=True, tag="ChoosePlan"):
    plan: str


TenantCommand = CreateTenant | AddMember | ChoosePlan


def reads(command: TenantCommand) -> Reads:
    yield TENANT, TENANT.stream(command.tenant_id, command.tenant_id)


def decide(command: TenantCommand, states: States) -> Decision:
    tenant = states.of(TENANT, command.tenant_id, command.tenant_id)
    if not isinstance(command, CreateTenant) and not tenant.exists:
        raise TenantUnknown
    match command:
        case CreateTenant():
            if tenant.exists:
                raise TenantExists
            return _create(command, states)
        case AddMember():
            if command.person_id in tenant.members:
                raise AlreadyMember
            return _add_member(command, states)
        case ChoosePlan():
            _require_plan(command.plan, states)
            return _record(command, PlanChosen(plan=command.plan)) if command.plan != tenant.plan else Decision()
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


def _add_member(command: AddMember, states: States) -> Decision:
    person = states.of(PERSON, SYSTEM_TENANT, command.person_id)
    if not person.exists or person.erased:
        raise PersonUnknown
    count = Counter(
        tenant_id=command.tenant_id,
        scope="members",
        name="tenant",
        delta=1,
        limit=limits_of(command.tenant_id, states).members,
    )
    added = MemberAdded(person_id=command.person_id, role=command.role)
    return Decision(facts=_record(command, added).facts, counters=(count,))


def _require_plan(name: str, states: States) -> None:
    if states.at(PLAN, plan_stream(name)).limits is None:
        raise PlanUnknown


def _record(command: TenantCommand, event: TenantCreated | MemberAdded | PlanChosen) -> Decision:
    return Decision(facts=facts(TENANT.stream(command.tenant_id, command.tenant_id), event))


TENANTS = Decider(commands=(CreateTenant, AddMember, ChoosePlan), reads=reads, decide=decide)
