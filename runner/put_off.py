"""What could not be begun a moment ago, and when it is worth another try."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar
from uuid import UUID

from runner.work_list import Task

A = TypeVar("A")

# Kept at most; beyond that the oldest is tried again early, which costs one refused claim.
ENTRIES_MAX = 10_000


class PutOff:
    """Deployments, and tenants that have as many under way as they may, in all or in one account of a cloud. Times are those of
    `seconds`."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._until: dict[UUID, tuple[float, UUID | None]] = {}
        self._tenants_until: dict[UUID, float] = {}
        self._accounts_until: dict[UUID, dict[str, float]] = {}

    def deployment(self, task: Task, for_seconds: float) -> None:
        _put(self._until, task.deployment_id, (self._seconds() + for_seconds, task.project_id))

    def tenant(self, task: Task, for_seconds: float) -> None:
        _put(self._tenants_until, task.tenant_id, self._seconds() + for_seconds)

    def account(self, task: Task, for_seconds: float) -> None:
        """Whatever else the tenant would deploy in that account has to wait too."""
        accounts = self._accounts_until.get(task.tenant_id, {})
        _put(self._accounts_until, task.tenant_id, accounts | {task.account: self._seconds() + for_seconds})

    def tenant_moved(self, tenant_id: UUID) -> None:
        """Something of the tenant has ended, so there may be room again."""
        self._tenants_until.pop(tenant_id, None)
        self._accounts_until.pop(tenant_id, None)

    def deployment_moved(self, deployment_id: UUID) -> None:
        self._until.pop(deployment_id, None)

    def project_moved(self, project_id: UUID) -> None:
        """Its deployments may be begun again, or wait for something else."""
        for deployment_id in [id for id, (_, of) in self._until.items() if of == project_id]:
            del self._until[deployment_id]

    def without(self, tasks: Iterable[Task]) -> list[Task]:
        """Those worth a try now."""
        now = self._seconds()
        for deployment_id in [id for id, (until, _) in self._until.items() if until <= now]:
            del self._until[deployment_id]
        return [task for task in tasks if task.deployment_id not in self._until and self._has_room(task, now)]

    def _has_room(self, task: Task, now: float) -> bool:
        of_account = self._accounts_until.get(task.tenant_id, {}).get(task.account, now)
        return max(self._tenants_until.get(task.tenant_id, now), of_account) <= now


def _put(entries: dict[UUID, A], id: UUID, until: A) -> None:
    entries.pop(id, None)
    if len(entries) >= ENTRIES_MAX:
        del entries[next(iter(entries))]
    entries[id] = until
