"""Projects, each as the API shows it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from domain.naming import slug
from domain.project import (
    DeploymentsLocked,
    DeploymentsUnlocked,
    LockedBy,
    ProjectArchived,
    ProjectCreated,
    ProjectRenamed,
)
from projections.query import ROWS, Found, Query, page_of
from projections.read_model import Column, Index, ReadModel, own_stream, present
from projections.recorded import Recorded

ProjectStatus = Literal["active", "archived"]


class DeployLock(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Why nothing is deployed, who said so and when, and when that ends by itself."""

    reason: str
    locked_by: LockedBy
    locked_at: datetime
    expires_at: datetime


class Project(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    project_id: UUID
    name: str
    # The project's segment in its functions' addresses; it stays when the project is renamed.
    slug: str
    status: ProjectStatus
    # Also after it has ended by itself; the API shows one that counts only.
    deploy_lock: DeployLock | None
    created_at: datetime
    updated_at: datetime


def project(row: Project | None, recorded: Recorded) -> Project | None:
    match recorded.event:
        case ProjectCreated() as event:
            return Project(
                project_id=recorded.stream_id,
                name=event.name,
                slug=event.slug,
                status="active",
                deploy_lock=None,
                created_at=recorded.at,
                updated_at=recorded.at,
            )
        case ProjectRenamed() as event:
            return msgspec.structs.replace(present(row), name=event.name, updated_at=recorded.at)
        case ProjectArchived():
            return msgspec.structs.replace(present(row), status="archived", updated_at=recorded.at)
        case DeploymentsLocked() as event:
            lock = DeployLock(
                reason=event.reason, locked_by=event.locked_by, locked_at=recorded.at, expires_at=event.expires_at
            )
            return msgspec.structs.replace(present(row), deploy_lock=lock, updated_at=recorded.at)
        case DeploymentsUnlocked():
            return msgspec.structs.replace(present(row), deploy_lock=None, updated_at=recorded.at)
        case _:
            return row


PROJECTS = ReadModel(
    name="projects",
    version=3,
    row=Project,
    interests=(ProjectCreated, ProjectRenamed, ProjectArchived, DeploymentsLocked, DeploymentsUnlocked),
    keys=own_stream,
    project=project,
    columns=(
        Column("slug", "text", lambda row: row.slug),
        Column("name_slug", "text", lambda row: slug(row.name)),
        Column("archived", "boolean", lambda row: row.status == "archived"),
    ),
    indexes=(
        Index("in_order", "tenant_id, first_position"),
        Index("by_slug", "tenant_id, slug", where="NOT archived"),
        Index("by_name", "tenant_id, name_slug", where="NOT archived"),
    ),
)


def _one(rows: Iterable[Found[Project]], project_id: UUID) -> list[Found[Project]]:
    return [found for found in rows if found.id == project_id]


def _by_slug(rows: Iterable[Found[Project]], segment: str) -> list[Found[Project]]:
    return [found for found in rows if found.row.slug == segment and found.row.status == "active"]


def _by_name(rows: Iterable[Found[Project]], segment: str) -> list[Found[Project]]:
    return [found for found in rows if slug(found.row.name) == segment and found.row.status == "active"]


def _page(rows: Iterable[Found[Project]], after: int, limit: int) -> list[Found[Project]]:
    return page_of(rows, "newest_first", after, limit)


# One project. Arguments: its id.
PROJECT = Query(
    name="project",
    model=PROJECTS,
    answer=Project,
    parameters=("uuid",),
    sql=ROWS + " WHERE t.tenant_id = $1 AND t.id = $2",
    select=_one,
)

# The project, not archived, that has a segment in addresses. Arguments: the segment.
PROJECT_BY_SLUG = Query(
    name="project_by_slug",
    model=PROJECTS,
    answer=Project,
    parameters=("text",),
    sql=ROWS + " WHERE t.tenant_id = $1 AND t.slug = $2 AND NOT t.archived",
    select=_by_slug,
)

# The project, not archived, that has a name now. Arguments: the name's slug.
PROJECT_BY_NAME = Query(
    name="project_by_name",
    model=PROJECTS,
    answer=Project,
    parameters=("text",),
    sql=ROWS + " WHERE t.tenant_id = $1 AND t.name_slug = $2 AND NOT t.archived",
    select=_by_name,
)

# All projects of the tenant, archived ones too.
PROJECTS_LIST = Query(
    name="projects_list",
    model=PROJECTS,
    answer=Project,
    parameters=("bigint", "integer"),
    sql=ROWS + " WHERE t.tenant_id = $1 AND t.first_position < $2 ORDER BY t.first_position DESC LIMIT $3",
    select=_page,
    order="newest_first",
)
