"""What the tenant's plan allows at most."""

from __future__ import annotations

from uuid import UUID

from commands.command import States
from domain.plan import PLAN, Limits, PlanUnknown, plan_stream
from domain.tenant import TENANT, TenantUnknown


def limits_of(tenant_id: UUID, states: States) -> Limits:
    """The plan's limits. Raises TenantUnknown or PlanUnknown."""
    tenant = states.of(TENANT, tenant_id, tenant_id)
    if not tenant.exists:
        raise TenantUnknown
    limits = states.at(PLAN, plan_stream(tenant.plan)).limits
    if limits is None:
        raise PlanUnknown
    return limits
