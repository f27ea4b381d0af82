"""What a change of a tenant is answered with: the tenant as the decision left it."""

from __future__ import annotations

import msgspec

from api.writing import Reply, recorded_time
from commands.command import States
from domain.event import StreamRef
from domain.tenant import TENANT
from projections.tenants import Tenant


def tenant_reply(known: Tenant, stream: StreamRef, states: States) -> Reply:
    """`known` is the tenant as it was read before; only what never changes is taken from it, and its last change if this is none."""
    state, moved = states.at(TENANT, stream), states.moved(stream)
    body = msgspec.structs.replace(
        known,
        name=state.name,
        slug=state.slug,
        plan=state.plan,
        suspended=state.suspended,
        updated_at=recorded_time(None) if moved else known.updated_at,
    )
    return Reply(body=body, position="last" if moved else "unchanged")
