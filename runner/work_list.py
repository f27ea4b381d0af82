"""What there is to do, as the read model `work` lists it."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

import msgspec

from projections.query import Found
from projections.reader import PAGE_ROWS_MAX, Reader
from projections.work import WORK_READY, WORK_UNDER_WAY, WorkItem


class Task(msgspec.Struct, frozen=True):
    """A deployment that needs a runner, because of the event at `due_position`; `correlation_id` is that of the request."""

    tenant_id: UUID
    deployment_id: UUID
    function_id: UUID
    due_position: int = 0
    correlation_id: UUID | None = None
    project_id: UUID | None = None
    account: str = ""


class WorkList(Protocol):
    """What waits, and what is in the hands of runners, living or dead."""

    async def ready(self, limit: int) -> list[Task]:
        """What may be begun now, every tenant's first before any tenant's second."""
        ...

    async def under_way(self) -> list[Task]:
        """What some runner has begun, the oldest first."""
        ...

    async def caught_up(self, position: int, *, seconds_max: float) -> None:
        """Wait until the list has seen `position`, though not for longer."""
        ...


class ProjectedWork:
    """The WorkList over the read model."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def ready(self, limit: int) -> list[Task]:
        return [_task(found) for found in await self._reader.rows(WORK_READY, None, limit)]

    async def under_way(self) -> list[Task]:
        tasks: list[Task] = []
        after: int | None = None
        while True:
            page = await self._reader.page(WORK_UNDER_WAY, None, after=after, limit=PAGE_ROWS_MAX)
            tasks += [_task(found) for found in page.items]
            after = page.next_after
            if after is None:
                return tasks

    async def caught_up(self, position: int, *, seconds_max: float) -> None:
        await self._reader.wait_for(position, (WORK_READY,), seconds_max=seconds_max)


def _task(found: Found[WorkItem]) -> Task:
    row = found.row
    return Task(
        found.tenant_id, found.id, row.function_id, row.due_position, row.correlation_id, row.project_id, row.account
    )
