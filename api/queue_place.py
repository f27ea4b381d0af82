"""Where a deployment stands in its tenant's queue, from 1."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from api.services import Services
from commands.command import NotLoaded, States
from domain.deployment import DEPLOYMENT
from projections.work import WORK_WAITING


async def waiting(services: Services, tenant_id: UUID) -> list[UUID]:
    """What of the tenant's waits for a runner, the first in front."""
    return [found.id for found in await services.reader.rows(WORK_WAITING, tenant_id)]


def place_of(deployment_id: UUID, queue: list[UUID]) -> int | None:
    """None: it does not wait any more."""
    return queue.index(deployment_id) + 1 if deployment_id in queue else None


def place_behind(queue: Collection[UUID], tenant_id: UUID, states: States) -> int:
    """The place of one that is queued now. What it overtakes, by the states after the decision, waits no longer."""
    return 1 + sum(_still_waits(id, tenant_id, states) for id in queue)


def _still_waits(deployment_id: UUID, tenant_id: UUID, states: States) -> bool:
    try:
        return states.of(DEPLOYMENT, tenant_id, deployment_id).is_claimable
    except NotLoaded:
        return True  # The decision did not touch it.
