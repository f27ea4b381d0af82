"""Usage: how much each tenant has, for operators."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from domain.artifact import ArtifactDiscarded, ArtifactStaged
from domain.deployment import DeploymentFailed, DeploymentQueued, DeploymentSucceeded
from domain.function import FunctionArchived, FunctionCreated
from domain.project import ProjectArchived, ProjectCreated
from domain.tenant import (
    MemberAdded,
    MemberRemoved,
    PlanChosen,
    TenantClosed,
    TenantCreated,
    TenantResumed,
    TenantSuspended,
)
from projections.query import ROWS, Found, Query, page_of
from projections.read_model import Index, ReadModel, present
from projections.recorded import Recorded


class Usage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a tenant has now (projects, functions and members that are not gone), and what it ever did."""

    tenant_id: UUID
    name: str
    plan: str
    projects: int = 0
    functions: int = 0
    members: int = 0
    artifacts: int = 0
    artifact_bytes: int = 0
    deployments: int = 0
    deployments_succeeded: int = 0
    deployments_failed: int = 0
    # As of the tenant itself: why nothing of it may be changed, and when it was closed for good.
    suspended: str | None = None
    closed_at: datetime | None = None


def keys(recorded: Recorded) -> Sequence[UUID]:
    return (recorded.tenant_id,)


def project(row: Usage | None, recorded: Recorded) -> Usage | None:
    match recorded.event:
        case TenantCreated() as event:
            return Usage(tenant_id=recorded.tenant_id, name=event.name, plan=event.plan)
        case PlanChosen() as event:
            return msgspec.structs.replace(present(row), plan=event.plan)
        case TenantSuspended() as event:
            return msgspec.structs.replace(present(row), suspended=event.reason)
        case TenantResumed():
            return msgspec.structs.replace(present(row), suspended=None)
        case TenantClosed():
            return msgspec.structs.replace(present(row), closed_at=recorded.at)
        case _:
            # Of a tenant that was never made nothing is counted.
            return None if row is None else _counted(row, recorded)


def _counted(row: Usage, recorded: Recorded) -> Usage:
    replace = msgspec.structs.replace
    match recorded.event:
        case ProjectCreated():
            return replace(row, projects=row.projects + 1)
        case ProjectArchived():
            return replace(row, projects=row.projects - 1)
        case FunctionCreated():
            return replace(row, functions=row.functions + 1)
        case FunctionArchived():
            return replace(row, functions=row.functions - 1)
        case MemberAdded():
            return replace(row, members=row.members + 1)
        case MemberRemoved():
            return replace(row, members=row.members - 1)
        case ArtifactStaged() as event:
            return replace(row, artifacts=row.artifacts + 1, artifact_bytes=row.artifact_bytes + event.size_bytes)
        case ArtifactDiscarded() as event:
            return replace(row, artifacts=row.artifacts - 1, artifact_bytes=row.artifact_bytes - event.size_bytes)
        case DeploymentQueued():
            return replace(row, deployments=row.deployments + 1)
        case DeploymentSucceeded():
            return replace(row, deployments_succeeded=row.deployments_succeeded + 1)
        case DeploymentFailed():
            return replace(row, deployments_failed=row.deployments_failed + 1)
        case _:
            return row


USAGE = ReadModel(
    name="usage",
    version=3,
    row=Usage,
    interests=(
        TenantCreated,
        PlanChosen,
        TenantSuspended,
        TenantResumed,
        TenantClosed,
        ProjectCreated,
        ProjectArchived,
        FunctionCreated,
        FunctionArchived,
        MemberAdded,
        MemberRemoved,
        ArtifactStaged,
        ArtifactDiscarded,
        DeploymentQueued,
        DeploymentSucceeded,
        DeploymentFailed,
    ),
    keys=keys,
    project=project,
    indexes=(Index("in_order", "first_position"),),
    keeps_history=False,
)


def _page(rows: Iterable[Found[Usage]], after: int, limit: int) -> list[Found[Usage]]:
    return page_of(rows, "oldest_first", after, limit)


# What every tenant has: for operators.
USAGE_LIST = Query(
    name="usage_list",
    model=USAGE,
    answer=Usage,
    parameters=("bigint", "integer"),
    sql=ROWS + " WHERE t.first_position > $1 ORDER BY t.first_position LIMIT $2",
    select=_page,
    audience="anyone",
    order="oldest_first",
)
