"""A tenant: the workspace where authorization and product limits stop."""

from __future__ import annotations

from typing import Literal, assert_never
from uuid import UUID

import msgspec

from domain.event import Aggregate, Event
from domain.refusal import Conflict, NotFound

Role = Literal["owner", "admin", "developer", "viewer"]


class TenantCreated(Event, frozen=True, kw_only=True, tag="tenant.created"):
    name: str
    slug: str
    plan: str


class MemberAdded(Event, frozen=True, kw_only=True, tag="tenant.member_added"):
    person_id: UUID
    role: Role


class PlanChosen(Event, frozen=True, kw_only=True, tag="tenant.plan_chosen"):
    plan: str


TenantEvent = TenantCreated | MemberAdded | PlanChosen


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    exists: bool = False
    name: str = ""
    slug: str = ""
    plan: str = ""
    members: dict[UUID, Role] = msgspec.field(default_factory=dict)


class TenantUnknown(NotFound):
    """There is no such tenant."""

    code = "tenant_not_found"


class TenantExists(Conflict):
    """The tenant was created before."""

    code = "tenant_exists"


class AlreadyMember(Conflict):
    """The person is a member of the tenant already."""

    code = "already_member"


def evolve(tenant: Tenant, event: TenantEvent) -> Tenant:
    match event:
        case TenantCreated():
            return Tenant(exists=True, name=event.name, slug=event.slug, plan=event.plan)
        case MemberAdded():
            return msgspec.structs.replace(tenant, members={**tenant.members, event.person_id: event.role})
        case PlanChosen():
            return msgspec.structs.replace(tenant, plan=event.plan)
        case _:
            assert_never(event)


TENANT = Aggregate(
    name="tenant", events=(TenantCreated, MemberAdded, PlanChosen), initial=Tenant(), evolve=evolve
)
