"""What follows when a deployment is queued, whoever asked for it and why: its number, its place, what it overtakes."""

from __future__ import annotations

from uuid import UUID

from commands.command import States, facts
from commands.limits import limits_of
from domain.clouds import target_key
from domain.deployment import (
    DEPLOYMENT,
    DeploymentCanceled,
    DeploymentExists,
    DeploymentQueued,
    DeploymentSuperseded,
    Notice,
    Origin,
)
from domain.event import Counter, Decision, Fact
from domain.function import FUNCTION, DeploymentEnded, DeploymentRequested, Function
from domain.release import Release
from domain.tenant import TENANT, TenantIsClosed


def queued(
    tenant_id: UUID,
    project_id: UUID,
    deployment_id: UUID,
    states: States,
    *,
    release: Release,
    warnings: tuple[Notice, ...],
    reason: str,
    origin: Origin = "deploy",
    source_deployment_id: UUID | None = None,
) -> Decision:
    """The deployment waits for a runner, and those for the same place that nobody has begun are overtaken.

    Raises DeploymentExists, TenantIsClosed, TenantUnknown or PlanUnknown.
    """
    if states.of(TENANT, tenant_id, tenant_id).closed:
        raise TenantIsClosed
    if states.of(DEPLOYMENT, tenant_id, deployment_id).exists:
        raise DeploymentExists
    function = states.of(FUNCTION, tenant_id, release.function_id)
    key, number = target_key(release.target), function.deployments_requested + 1
    overtaken = _overtaken(tenant_id, function, key, states)
    event = DeploymentQueued(
        project_id=project_id,
        number=number,
        release=release,
        reason=reason,
        warnings=warnings,
        origin=origin,
        source_deployment_id=source_deployment_id,
    )
    requested = DeploymentRequested(deployment_id=deployment_id, number=number, target_key=key)
    limit = limits_of(tenant_id, states).queued_deployments
    return Decision(
        facts=(
            *facts(DEPLOYMENT.stream(tenant_id, deployment_id), event),
            *facts(FUNCTION.stream(tenant_id, release.function_id), requested),
            *(fact for id in overtaken for fact in _supersede(tenant_id, release.function_id, id, deployment_id)),
        ),
        counters=(queue_counter(tenant_id, 1 - len(overtaken), limit=limit),),
    )


def queue_counter(tenant_id: UUID, delta: int, *, limit: int | None = None) -> Counter:
    """How many of the tenant's deployments wait for a runner."""
    return Counter(tenant_id=tenant_id, scope="deployments", name="queued", delta=delta, limit=limit)


def _overtaken(tenant_id: UUID, function: Function, key: str, states: States) -> list[UUID]:
    """Deployments for the same target that no runner has begun."""
    rivals = [id for id, pending_key in function.pending.items() if pending_key == key]
    return [id for id in rivals if states.of(DEPLOYMENT, tenant_id, id).status == "queued"]


def _supersede(tenant_id: UUID, function_id: UUID, overtaken: UUID, by: UUID) -> tuple[Fact, ...]:
    return (
        *facts(
            DEPLOYMENT.stream(tenant_id, overtaken),
            DeploymentSuperseded(by_deployment_id=by),
            DeploymentCanceled(cause="superseded"),
        ),
        *facts(FUNCTION.stream(tenant_id, function_id), DeploymentEnded(deployment_id=overtaken)),
    )
