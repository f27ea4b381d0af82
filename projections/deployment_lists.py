"""What is asked of the deployments: one, a list with filters, and the one that serves an address."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from domain.clouds import Target, target_key
from domain.deployment import DeploymentStatus
from domain.release import SourceRef
from projections.deployments import DEPLOYMENTS, Deployment, address_of, is_former, slot_of
from projections.query import ROWS, Found, Query, page_of
from projections.tally import tally

Rows = Iterable[Found[Deployment]]


def _one(rows: Rows, project_id: UUID, deployment_id: UUID) -> list[Found[Deployment]]:
    return [found for found in rows if found.id == deployment_id and found.row.project_id == project_id]


def _by_address(rows: Rows, address: str) -> list[Found[Deployment]]:
    return [found for found in rows if found.row.active and address_of(found.row) == address]


def _on_runtime(rows: Rows, version: str, after: int, limit: int) -> list[Found[Deployment]]:
    chosen = (found for found in rows if found.row.active and found.row.release.runtime == version)
    return page_of(chosen, "oldest_first", after, limit)


# One deployment. Arguments: project id, deployment id.
DEPLOYMENT = Query(
    name="deployment",
    model=DEPLOYMENTS,
    answer=Deployment,
    parameters=("uuid", "uuid"),
    sql=ROWS + " WHERE t.tenant_id = $1 AND t.project_id = $2 AND t.id = $3",
    select=_one,
)

# The deployment that serves an address, `tenant/project/function`, of whichever tenant.
DEPLOYMENT_AT_ADDRESS = Query(
    name="deployment_at_address",
    model=DEPLOYMENTS,
    answer=Deployment,
    parameters=("text",),
    sql=ROWS + " WHERE t.active_address = $1",
    select=_by_address,
    audience="anyone",
)

# The deployments that are active on a runtime, of whichever tenants. Arguments: the runtime's version.
DEPLOYMENTS_ON_RUNTIME = Query(
    name="deployments_on_runtime",
    model=DEPLOYMENTS,
    answer=Deployment,
    parameters=("text", "bigint", "integer"),
    sql=ROWS + " WHERE t.active_runtime = $1 AND t.first_position > $2 ORDER BY t.first_position LIMIT $3",
    select=_on_runtime,
    audience="anyone",
    order="oldest_first",
)

# How many of these each tenant has. Arguments: the runtime's version.
DEPLOYMENT_TALLY = tally("deployment_tally", DEPLOYMENTS, where="t.active_runtime = $1", having=DEPLOYMENTS_ON_RUNTIME)

# Positions and times run together, so a span of time is a span of first positions: two steps into an index.
_IN_TIME = """
       AND t.first_position > coalesce((SELECT e.first_position FROM {table} e
                                         WHERE e.tenant_id = $1 AND e.project_id = $2 AND e.queued_at < $4
                                         ORDER BY e.queued_at DESC, e.first_position DESC LIMIT 1), 0)
       AND t.first_position < least($6, coalesce((SELECT e.first_position FROM {table} e
                                                   WHERE e.tenant_id = $1 AND e.project_id = $2 AND e.queued_at >= $5
                                                   ORDER BY e.queued_at, e.first_position LIMIT 1), $6))
     ORDER BY t.first_position DESC
     LIMIT $7"""
_FILTERS = ("uuid", "text", "timestamptz", "timestamptz", "bigint", "integer")


def _of_project(
    rows: Rows, project_id: UUID, provider: str | None, start: Any, end: Any, after: int, limit: int
) -> list[Found[Deployment]]:
    chosen = (f for f in rows if f.row.project_id == project_id and _fits(f.row, provider, start, end))
    return page_of(chosen, "newest_first", after, limit)


def _by_status(
    rows: Rows,
    project_id: UUID,
    provider: str | None,
    start: Any,
    end: Any,
    status: str,
    after: int,
    limit: int,
) -> list[Found[Deployment]]:
    chosen = [found for found in rows if found.row.status == status]
    return _of_project(chosen, project_id, provider, start, end, after, limit)


def _of_function(
    rows: Rows,
    project_id: UUID,
    provider: str | None,
    start: Any,
    end: Any,
    function_id: UUID,
    status: str | None,
    after: int,
    limit: int,
) -> list[Found[Deployment]]:
    chosen = [f for f in rows if f.row.function_id == function_id and status in (None, f.row.status)]
    return _of_project(chosen, project_id, provider, start, end, after, limit)


def _fits(row: Deployment, provider: str | None, start: datetime | None, end: datetime | None) -> bool:
    early = start is not None and row.queued_at < start
    late = end is not None and row.queued_at >= end
    return provider in (None, row.provider) and not early and not late


# A project's deployments. Arguments: project id, provider, queued from, queued before (the last three may be None).
DEPLOYMENTS_OF_PROJECT = Query(
    name="deployments_of_project",
    model=DEPLOYMENTS,
    answer=Deployment,
    parameters=_FILTERS,
    sql=ROWS
    + """
     WHERE t.tenant_id = $1 AND t.project_id = $2
       AND ($3::text IS NULL OR t.provider = $3)"""
    + _IN_TIME,
    select=_of_project,
    order="newest_first",
)

# The same with a status. Arguments: as above, then the status.
DEPLOYMENTS_BY_STATUS = Query(
    name="deployments_by_status",
    model=DEPLOYMENTS,
    answer=Deployment,
    parameters=(*_FILTERS[:4], "text", *_FILTERS[4:]),
    sql=ROWS
    + """
     WHERE t.tenant_id = $1 AND t.project_id = $2 AND t.status = $6
       AND ($3::text IS NULL OR t.provider = $3)"""
    + _IN_TIME.replace("$7", "$8").replace("$6", "$7"),
    select=_by_status,
    order="newest_first",
)

# A function's deployments. Arguments: as of a project, then the function's id and a status (which may be None).
DEPLOYMENTS_OF_FUNCTION = Query(
    name="deployments_of_function",
    model=DEPLOYMENTS,
    answer=Deployment,
    parameters=(*_FILTERS[:4], "uuid", "text", *_FILTERS[4:]),
    sql=ROWS
    + """
     WHERE t.tenant_id = $1 AND t.function_id = $6 AND t.project_id = $2
       AND ($3::text IS NULL OR t.provider = $3)
       AND ($7::text IS NULL OR t.status = $7)"""
    + _IN_TIME.replace("$7", "$9").replace("$6", "$8"),
    select=_of_function,
    order="newest_first",
)


class Watched(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A deployment that serves, or of which a difference is still recorded."""

    deployment_id: UUID
    function_id: UUID
    provider: str
    active: bool
    finished_at: datetime | None = None


def _watched(rows: Rows, after: int, limit: int) -> list[Found[Deployment]]:
    return page_of((found for found in rows if found.row.active or found.row.drift), "oldest_first", after, limit)


# What is compared with what its cloud shows.
DEPLOYMENTS_WATCHED = Query(
    name="deployments_watched",
    model=DEPLOYMENTS,
    answer=Watched,
    parameters=("bigint", "integer"),
    sql=ROWS + " WHERE (t.active OR t.drifts) AND t.first_position > $1 ORDER BY t.first_position LIMIT $2",
    select=_watched,
    audience="engine",
    order="oldest_first",
)


class ReleaseFiles(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Of a release, only what it was made from."""

    sources: tuple[SourceRef, ...]


class KeptRelease(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A release that serves, or that a function can go back to."""

    deployment_id: UUID
    function_id: UUID
    target: Target
    active: bool
    number: int
    release: ReleaseFiles

    @property
    def slot(self) -> str:
        """The place it was released to."""
        return f"{self.function_id}/{target_key(self.target)}"


def _kept(rows: Rows, tenant_id: UUID, slot: str, number: int, limit: int) -> list[Found[Deployment]]:
    mine = (found for found in rows if found.tenant_id == tenant_id and (found.row.active or is_former(found.row)))
    following = [found for found in mine if _place(found.row) > (slot, number)]
    return sorted(following, key=lambda found: _place(found.row))[:limit]


def _place(row: Deployment) -> tuple[str, int]:
    return slot_of(row), row.number


# The releases of a tenant that are kept, place by place, each place's in their order. Arguments: the tenant, the place and
# number to go on from, how many.
RELEASES_KEPT = Query(
    name="releases_kept",
    model=DEPLOYMENTS,
    answer=KeptRelease,
    parameters=("uuid", "text", "bigint", "integer"),
    sql=ROWS
    + """
     WHERE t.tenant_id = $1 AND (t.active OR t.former) AND (t.slot, t.number) > ($2, $3)
     ORDER BY t.slot, t.number
     LIMIT $4""",
    select=_kept,
    audience="engine",
)


def _leftover(rows: Rows, after: int, limit: int) -> list[Found[Deployment]]:
    left = (found for found in rows if found.row.retired and not found.row.withdrawn)
    return page_of(left, "oldest_first", after, limit)


# What is kept no longer, and has not been taken away yet.
RELEASES_LEFTOVER = Query(
    name="releases_leftover",
    model=DEPLOYMENTS,
    answer=Watched,
    parameters=("bigint", "integer"),
    sql=ROWS + " WHERE t.leftover AND t.first_position > $1 ORDER BY t.first_position LIMIT $2",
    select=_leftover,
    audience="engine",
    order="oldest_first",
)


class Fate(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What has become of a deployment."""

    status: DeploymentStatus
    active: bool
    retired: bool


def _fates(rows: Rows, tenant_id: UUID, deployment_ids: Sequence[UUID]) -> list[Found[Deployment]]:
    return [found for found in rows if found.tenant_id == tenant_id and found.id in deployment_ids]


# Arguments: the tenant, and deployments of it.
DEPLOYMENT_FATES = Query(
    name="deployment_fates",
    model=DEPLOYMENTS,
    answer=Fate,
    parameters=("uuid", "uuid[]"),
    sql=ROWS + " WHERE t.tenant_id = $1 AND t.id = ANY ($2)",
    select=_fates,
    audience="engine",
)


class DeploymentFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which deployments of a project a list is about; what is None does not matter."""

    function_id: UUID | None = None
    status: DeploymentStatus | None = None
    provider: str | None = None
    queued_from: datetime | None = None
    queued_before: datetime | None = None


def deployments_list(project_id: UUID, wanted: DeploymentFilter) -> tuple[Query[Deployment], tuple[Any, ...]]:
    """The query that finds them by an index, and its arguments."""
    common = (project_id, wanted.provider, wanted.queued_from, wanted.queued_before)
    if wanted.function_id is not None:
        return DEPLOYMENTS_OF_FUNCTION, (*common, wanted.function_id, wanted.status)
    if wanted.status is not None:
        return DEPLOYMENTS_BY_STATUS, (*common, wanted.status)
    return DEPLOYMENTS_OF_PROJECT, common
