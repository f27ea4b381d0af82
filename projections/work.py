"""The runner's work list: deployments that wait for a runner or are in the hands of one."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import msgspec

from domain.clouds import account_key, target_key
from domain.deployment import (
    CancelRequested,
    DeploymentCanceled,
    DeploymentClaimed,
    DeploymentFailed,
    DeploymentQueued,
    DeploymentStatus,
    DeploymentSucceeded,
    DeploymentUndeployed,
    ReleaseStarted,
    UndeployFailed,
    UndeployRequested,
    UndeployStarted,
)
from projections.query import ROWS, Found, Query, page_of
from projections.read_model import Column, Index, ReadModel, own_stream, present
from projections.recorded import Recorded

# Of one tenant, told apart one by one; whoever waits behind so many is told no nearer place.
WAITING_MAX = 1_000


class WorkItem(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A deployment that has, or may again have, something to do.

    `due_position` is that of the event that last asked for it, `correlation_id` that of the request behind it; `epoch`
    is that of the newest claim, 0 when there is none.
    """

    deployment_id: UUID
    function_id: UUID
    project_id: UUID
    provider: str
    target_key: str
    account: str
    number: int
    status: DeploymentStatus
    due_position: int
    correlation_id: UUID | None = None
    epoch: int = 0
    runner_id: str = ""
    cancel_requested: bool = False

    @property
    def waits(self) -> bool:
        """No runner has begun."""
        return self.status in ("queued", "undeploy_queued")

    @property
    def under_way(self) -> bool:
        """A runner has begun, and holds the function's place at the target."""
        return self.status in ("running", "deploying", "undeploying")

    @property
    def slot(self) -> str:
        """The place at which one deployment is under way at a time."""
        return f"{self.function_id}/{self.target_key}"


def project(row: WorkItem | None, recorded: Recorded) -> WorkItem | None:
    replace = msgspec.structs.replace
    match recorded.event:
        case DeploymentQueued() as event:
            return WorkItem(
                deployment_id=recorded.stream_id,
                function_id=event.release.function_id,
                project_id=event.project_id,
                provider=event.release.provider,
                target_key=target_key(event.release.target),
                account=account_key(event.release.target),
                number=event.number,
                status="queued",
                due_position=recorded.position,
                correlation_id=recorded.meta.correlation_id,
            )
        case DeploymentClaimed(epoch=epoch, runner_id=runner_id):
            status: DeploymentStatus = "running" if present(row).status == "queued" else present(row).status
            return replace(present(row), status=status, epoch=epoch, runner_id=runner_id)
        case ReleaseStarted():
            return replace(present(row), status="deploying")
        case CancelRequested():
            return replace(present(row), cancel_requested=True)
        case DeploymentSucceeded():
            return replace(present(row), status="succeeded")
        case DeploymentFailed(remaining=remaining):
            return replace(present(row), status="failed") if remaining else None
        case DeploymentCanceled(remaining=remaining):
            return replace(present(row), status="canceled") if remaining else None
        case UndeployRequested():
            asked = recorded.meta.correlation_id
            return replace(present(row), status="undeploy_queued", due_position=recorded.position, correlation_id=asked)
        case UndeployStarted():
            return replace(present(row), status="undeploying")
        case UndeployFailed():
            return replace(present(row), status="undeploy_failed")
        case DeploymentUndeployed():
            return None
        case _:
            return row


WORK = ReadModel(
    name="work",
    version=4,
    row=WorkItem,
    interests=(
        DeploymentQueued,
        DeploymentClaimed,
        ReleaseStarted,
        CancelRequested,
        DeploymentSucceeded,
        DeploymentFailed,
        DeploymentCanceled,
        UndeployRequested,
        UndeployStarted,
        UndeployFailed,
        DeploymentUndeployed,
    ),
    keys=own_stream,
    project=project,
    columns=(
        Column("slot", "text", lambda row: row.slot),
        Column("waits", "boolean", lambda row: row.waits),
        Column("under_way", "boolean", lambda row: row.under_way),
        Column("due_position", "bigint", lambda row: row.due_position),
    ),
    indexes=(
        Index("by_turn", "tenant_id, due_position", where="waits"),
        Index("by_slot", "tenant_id, slot, due_position", where="waits OR under_way"),
        Index("under_way", "first_position", where="under_way"),
        Index("by_age", "first_position", where="waits OR under_way"),
    ),
    keeps_history=False,
)

Rows = Iterable[Found[WorkItem]]


def _ready(rows: Rows, limit: int) -> list[Found[WorkItem]]:
    everything = list(rows)
    busy = {(found.tenant_id, found.row.slot) for found in everything if found.row.under_way}
    waiting = sorted((found for found in everything if found.row.waits), key=lambda found: found.row.due_position)
    turns: dict[UUID, int] = {}
    ranked: list[tuple[int, int, Found[WorkItem]]] = []
    for found in waiting:
        if (found.tenant_id, found.row.slot) in busy:
            continue
        busy.add((found.tenant_id, found.row.slot))
        turns[found.tenant_id] = turns.get(found.tenant_id, 0) + 1
        ranked.append((turns[found.tenant_id], found.row.due_position, found))
    ranked.sort(key=lambda entry: entry[:2])
    return [found for _, _, found in ranked[:limit]]


def _waiting(rows: Rows) -> list[Found[WorkItem]]:
    waiting = (found for found in rows if found.row.waits)
    return sorted(waiting, key=lambda found: found.row.due_position)[:WAITING_MAX]


def _under_way(rows: Rows, after: int, limit: int) -> list[Found[WorkItem]]:
    return page_of((found for found in rows if found.row.under_way), "oldest_first", after, limit)


# What a runner may begin now: of each place the first that waits, unless the place is taken; every tenant's first before
# any tenant's second. The tenants are found by stepping through the index, so a long queue of one costs the others nothing.
# Arguments: how many at most.
WORK_READY = Query(
    name="work_ready",
    model=WORK,
    answer=WorkItem,
    parameters=("integer",),
    sql="""
    WITH RECURSIVE tenants AS (
        (SELECT w.tenant_id AS tenant FROM {table} w WHERE w.waits ORDER BY w.tenant_id LIMIT 1)
         UNION ALL
        SELECT (SELECT w.tenant_id FROM {table} w
                 WHERE w.waits AND w.tenant_id > n.tenant ORDER BY w.tenant_id LIMIT 1)
          FROM tenants n
         WHERE n.tenant IS NOT NULL
    )
    SELECT r.tenant_id, r.id, r.first_position, r.position, r.row
      FROM tenants n
     CROSS JOIN LATERAL (
            SELECT f.*, row_number() OVER (ORDER BY f.due_position) AS turn
              FROM (SELECT w.*
                      FROM {table} w
                     WHERE w.tenant_id = n.tenant AND w.waits
                       AND NOT coalesce((SELECT true FROM {table} o
                             WHERE o.tenant_id = w.tenant_id AND o.slot = w.slot
                               AND (o.waits OR o.under_way)
                               AND (o.under_way OR o.due_position < w.due_position)
                             LIMIT 1), false)
                     ORDER BY w.due_position
                     LIMIT $1) f
           ) r
     ORDER BY r.turn, r.due_position
     LIMIT $1""",
    select=_ready,
    audience="engine",
    replans=True,
)

# What of a tenant's waits for a runner, in the order in which it was asked for.
WORK_WAITING = Query(
    name="work_waiting",
    model=WORK,
    answer=WorkItem,
    sql=ROWS + f" WHERE t.tenant_id = $1 AND t.waits ORDER BY t.due_position LIMIT {WAITING_MAX}",
    select=_waiting,
)

# What is in the hands of runners, living or dead, by the age of the deployment.
WORK_UNDER_WAY = Query(
    name="work_under_way",
    model=WORK,
    answer=WorkItem,
    parameters=("bigint", "integer"),
    sql=ROWS + " WHERE t.under_way AND t.first_position > $1 ORDER BY t.first_position LIMIT $2",
    select=_under_way,
    audience="engine",
    order="oldest_first",
)


def _queue(rows: Rows, after: int, limit: int) -> list[Found[WorkItem]]:
    return page_of((found for found in rows if found.row.waits or found.row.under_way), "oldest_first", after, limit)


# All that waits or is under way, of every tenant, the oldest deployments first: for operators.
WORK_QUEUE = Query(
    name="work_queue",
    model=WORK,
    answer=WorkItem,
    parameters=("bigint", "integer"),
    sql=ROWS + " WHERE (t.waits OR t.under_way) AND t.first_position > $1 ORDER BY t.first_position LIMIT $2",
    select=_queue,
    audience="anyone",
    order="oldest_first",
)
