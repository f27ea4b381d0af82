"""Who I am: the caller, its tenant and what it may do."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, get

from api.answer import Answer, encoded
from api.exchange import exchange_of
from api.operation import Operation
from api.persons import PersonShown, persons_of
from api.principal import Membership, PrincipalRole
from api.reading import reached
from api.services import Services
from domain.event import SYSTEM_TENANT
from domain.tenant import Role
from eventstore.meta import Actor
from projections.tenants import TENANT, Tenant


class MembershipShown(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A tenant the caller belongs to; its id goes into the header Dcf-Tenant."""

    tenant_id: UUID
    name: str
    role: Role


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """`tenant` is null for operators, who belong to none, and for people who act in none; `memberships` are theirs, and
    `person` is who they are. For keys it is null. `projects` are those that a key is for; none: all of the tenant's."""

    actor: Actor
    role: PrincipalRole
    permissions: list[str]
    tenant: Tenant | None
    memberships: list[MembershipShown]
    person: PersonShown | None
    projects: list[UUID]


_ME = Operation(
    name="getMe", permission="self", summary="Who the credential belongs to", tag="Tenant", answers={200: Me}
)


@get("/me", opt=_ME.as_opt())
async def get_me(request: Request[Any, Any, Any]) -> Answer:
    services = await reached(request)
    principal = exchange_of(request.scope).principal
    assert principal is not None, "a route with a permission has a caller"
    acts = principal.tenant_id != SYSTEM_TENANT
    found = await services.reader.one(TENANT, principal.tenant_id) if acts else None
    person_id = UUID(principal.actor.id) if principal.actor.type == "person" else None
    me = Me(
        actor=principal.actor,
        role=principal.role,
        permissions=sorted(principal.permissions),
        tenant=found.row if found else None,
        memberships=[await _shown(services, membership) for membership in principal.memberships],
        person=None if person_id is None else (await persons_of(services, [person_id]))[person_id],
        projects=sorted(principal.projects),
    )
    return Answer(encoded(me))


async def _shown(services: Services, membership: Membership) -> MembershipShown:
    found = await services.reader.one(TENANT, membership.tenant_id)
    return MembershipShown(tenant_id=membership.tenant_id, name=found.row.name if found else "", role=membership.role)


ME_ROUTES = (get_me,)
