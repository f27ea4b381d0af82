"""What could not be begun a moment ago, and when it is worth another try."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from uuid import UUID

from runner.work_list import Task

# Kept at most; beyond that the oldest is tried again early, which costs one refused claim.
ENTRIES_MAX = 10_000


class PutOff:
    """Deployments, and tenants that have as many under way as they may. Times are those of `seconds`."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._until: dict[UUID, float] = {}
        self._tenants_until: dict[UUID, float] = {}

    def deployment(self, task: Task, for_seconds: float) -> None:
        _put(self._until, task.deployment_id, self._seconds() + for_seconds)

    def tenant(self, task: Task, for_seconds: float) -> None:
        _put(self._tenants_until, task.tenant_id, self._seconds() + for_seconds)

    def tenant_moved(self, tenant_id: UUID) -> None:
        """Something of the tenant has ended, so there may be room again."""
        self._tenants_until.pop(tenant_id, None)

    def deployment_moved(self, deployment_id: UUID) -> None:
        self._until.pop(deployment_id, None)

    def without(self, tasks: Iterable[Task]) -> list[Task]:
        """Those worth a try now."""
        now = self._seconds()
        return [
            task
            for task in tasks
            if self._until.get(task.deployment_id, now) <= now and self._tenants_until.get(task.tenant_id, now) <= now
        ]


def _put(entries: dict[UUID, float], id: UUID, until: float) -> None:
    entries.pop(id, None)
    if len(entries) >= ENTRIES_MAX:
        del entries[next(iter(entries))]
    entries[id] = until
