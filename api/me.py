"""Who I am: the caller, its tenant and what it may do."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, get

from api.answer import Answer, encoded
from api.exchange import exchange_of
from api.operation import Operation
from api.reading import reached
from domain.api_key import KeyRole
from eventstore.meta import Actor
from projections.tenants import TENANT, Tenant


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """`tenant` is null for operators, who belong to none."""

    actor: Actor
    role: KeyRole
    permissions: list[str]
    tenant: Tenant | None


_ME = Operation(
    name="getMe", permission="tenant:read", summary="Who the credential belongs to", tag="Tenant", answers={200: Me}
)


@get("/me", opt=_ME.as_opt())
async def get_me(request: Request[Any, Any, Any]) -> Answer:
    services = await reached(request)
    principal = exchange_of(request.scope).principal
    assert principal is not None, "a route with a permission has a caller"
    found = None if principal.is_operator else await services.reader.one(TENANT, principal.tenant_id)
    me = Me(
        actor=principal.actor,
        role=principal.role,
        permissions=sorted(principal.permissions),
        tenant=found.row if found else None,
    )
    return Answer(encoded(me))


ME_ROUTES = (get_me,)
