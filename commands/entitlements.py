"""What the tenant's plan entitles to beyond its limits."""

from __future__ import annotations

from uuid import UUID

from commands.command import States
from domain.clouds import GcpTarget, Target
from domain.plan import PLAN, plan_stream
from domain.refusal import FieldError, Forbidden
from domain.tenant import TENANT

# Runtime targets that not every plan may use.
_ENTITLED_ONLY = ("gke",)


class RuntimeTargetNotEntitled(Forbidden):
    """The tenant's plan does not include this runtime target."""

    code = "runtime_target_not_entitled"
    remedy = "Choose runtimeTarget cloud_run, or a plan that includes this one."


def require_runtime_target(tenant_id: UUID, target: Target, states: States) -> None:
    """Raises RuntimeTargetNotEntitled, naming `target.runtimeTarget`."""
    if not isinstance(target, GcpTarget) or target.runtime_target not in _ENTITLED_ONLY:
        return
    plan = states.at(PLAN, plan_stream(states.of(TENANT, tenant_id, tenant_id).plan))
    if target.runtime_target not in plan.entitlements:
        message = f"not in the plan {plan.name!r}"
        raise RuntimeTargetNotEntitled(errors=(FieldError(field="target.runtimeTarget", message=message),))
