"""Functions: the authoring record as the API shows it, and which deployment of it is active."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from domain import function as aggregate
from domain.clouds import ProviderName
from domain.function import (
    FUNCTION,
    ArtifactFiles,
    Authored,
    FunctionCreated,
    FunctionStatus,
)
from domain.naming import slug
from domain.release import Access, Trigger
from projections.query import ROWS, Found, Query, page_of
from projections.read_model import Column, Index, ReadModel, own_stream, present
from projections.recorded import Recorded
from projections.tally import tally


class Function(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    function_id: UUID
    project_id: UUID
    name: str
    # The function's segment in its address; it stays when the function is renamed.
    slug: str
    description: str
    trigger: Trigger
    runtime: str
    access: Access
    provider: ProviderName | None
    environment: dict[str, str]
    secret_names: tuple[str, ...] = ()
    artifact_files: ArtifactFiles
    status: FunctionStatus
    active_deployment_id: UUID | None
    changed_since_deploy: bool
    revision: int
    created_at: datetime
    updated_at: datetime


class FunctionRow(Function, frozen=True, kw_only=True, rename="camel"):
    """The function with what the next event needs to know: `deploy_revision` and `active` are those of the aggregate."""

    deploy_revision: int
    was_deployed: bool = False
    active: dict[str, aggregate.Active] = msgspec.field(default_factory=dict)
    secrets: dict[str, aggregate.SecretValue] = msgspec.field(default_factory=dict)
    secret_versions: dict[str, int] = msgspec.field(default_factory=dict)


def project(row: FunctionRow | None, recorded: Recorded) -> FunctionRow | None:
    """The aggregate's own `evolve` does the work, so that the row can never say anything else."""
    event: Any = recorded.event
    before = FUNCTION.initial if isinstance(event, FunctionCreated) else _state(present(row))
    after = FUNCTION.evolve(before, event)
    assert after.authored is not None
    return _row(recorded.stream_id, after, after.authored)


def _state(row: FunctionRow) -> aggregate.Function:
    return aggregate.Function(
        exists=True,
        project_id=row.project_id,
        slug=row.slug,
        authored=_authored(row),
        archived=row.status == "archived",
        revision=row.revision,
        deploy_revision=row.deploy_revision,
        active=row.active,
        secrets=row.secrets,
        secret_versions=row.secret_versions,
        was_deployed=row.was_deployed,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _authored(row: Function) -> Authored:
    return Authored(
        name=row.name,
        description=row.description,
        trigger=row.trigger,
        runtime=row.runtime,
        access=row.access,
        provider=row.provider,
        environment=row.environment,
        artifact_files=row.artifact_files,
    )


def _row(function_id: UUID, state: aggregate.Function, authored: Authored) -> FunctionRow:
    newest = state.active_newest
    assert state.created_at is not None
    assert state.updated_at is not None
    return FunctionRow(
        function_id=function_id,
        project_id=state.project_id,
        name=authored.name,
        slug=state.slug,
        description=authored.description,
        trigger=authored.trigger,
        runtime=authored.runtime,
        access=authored.access,
        provider=authored.provider,
        environment=authored.environment,
        secret_names=tuple(sorted(state.secrets)),
        artifact_files=authored.artifact_files,
        status=state.status,
        active_deployment_id=newest.deployment_id if newest else None,
        changed_since_deploy=state.changed_since_deploy,
        revision=state.revision,
        created_at=state.created_at,
        updated_at=state.updated_at,
        deploy_revision=state.deploy_revision,
        was_deployed=state.was_deployed,
        active=state.active,
        secrets=state.secrets,
        secret_versions=state.secret_versions,
    )


FUNCTIONS = ReadModel(
    name="functions",
    version=4,
    row=FunctionRow,
    # Also those that change nothing that is shown: the row's position is the function's ETag, which If-Match compares
    # with the end of its stream.
    interests=FUNCTION.events,
    keys=own_stream,
    project=project,
    columns=(
        Column("project_id", "uuid", lambda row: row.project_id),
        Column("slug", "text", lambda row: row.slug),
        Column("name_slug", "text", lambda row: slug(row.name)),
        Column("status", "text", lambda row: row.status),
        Column("runtime", "text", lambda row: row.runtime),
    ),
    indexes=(
        Index("in_order", "tenant_id, project_id, first_position"),
        Index("by_name", "tenant_id, project_id, name_slug", where="status <> 'archived'"),
        Index("by_slug", "tenant_id, project_id, slug", where="status <> 'archived'"),
        # Which functions of which tenants a runtime's dates would touch.
        Index("by_runtime", "runtime, tenant_id, first_position"),
    ),
)


def _one(rows: Iterable[Found[FunctionRow]], function_id: UUID) -> list[Found[FunctionRow]]:
    return [found for found in rows if found.id == function_id]


def _by_name(rows: Iterable[Found[FunctionRow]], project_id: UUID, segment: str) -> list[Found[FunctionRow]]:
    return [found for found in _open(rows, project_id) if slug(found.row.name) == segment]


def _by_slug(rows: Iterable[Found[FunctionRow]], project_id: UUID, segment: str) -> list[Found[FunctionRow]]:
    return [found for found in _open(rows, project_id) if found.row.slug == segment]


def _open(rows: Iterable[Found[FunctionRow]], project_id: UUID) -> list[Found[FunctionRow]]:
    return [found for found in rows if found.row.project_id == project_id and found.row.status != "archived"]


def _page(rows: Iterable[Found[FunctionRow]], project_id: UUID, after: int, limit: int) -> list[Found[FunctionRow]]:
    return page_of((found for found in rows if found.row.project_id == project_id), "newest_first", after, limit)


def _on_runtime(rows: Iterable[Found[FunctionRow]], version: str, after: int, limit: int) -> list[Found[FunctionRow]]:
    chosen = (found for found in rows if found.row.runtime == version and found.row.status != "archived")
    return page_of(chosen, "oldest_first", after, limit)


# One function, whichever of the tenant's projects it is in. Arguments: its id.
FUNCTION_GET = Query(
    name="function_get",
    model=FUNCTIONS,
    answer=Function,
    parameters=("uuid",),
    sql=ROWS + " WHERE t.tenant_id = $1 AND t.id = $2",
    select=_one,
)

# The function, not archived, that has a name now. Arguments: project id, the name's slug.
FUNCTION_BY_NAME = Query(
    name="function_by_name",
    model=FUNCTIONS,
    answer=Function,
    parameters=("uuid", "text"),
    sql=ROWS + " WHERE t.tenant_id = $1 AND t.project_id = $2 AND t.name_slug = $3 AND t.status <> 'archived'",
    select=_by_name,
)

# The function, not archived, that has a segment in addresses. Arguments: project id, the segment.
FUNCTION_BY_SLUG = Query(
    name="function_by_slug",
    model=FUNCTIONS,
    answer=Function,
    parameters=("uuid", "text"),
    sql=ROWS + " WHERE t.tenant_id = $1 AND t.project_id = $2 AND t.slug = $3 AND t.status <> 'archived'",
    select=_by_slug,
)

# The functions, not archived, whose record names a runtime, of whichever tenants. Arguments: the runtime's version.
FUNCTIONS_ON_RUNTIME = Query(
    name="functions_on_runtime",
    model=FUNCTIONS,
    answer=Function,
    parameters=("text", "bigint", "integer"),
    sql=ROWS
    + """
      WHERE t.runtime = $1 AND t.status <> 'archived' AND t.first_position > $2
      ORDER BY t.first_position
      LIMIT $3""",
    select=_on_runtime,
    audience="anyone",
    order="oldest_first",
)

# How many of these each tenant has. Arguments: the runtime's version.
FUNCTION_TALLY = tally(
    "function_tally", FUNCTIONS, where="t.runtime = $1 AND t.status <> 'archived'", having=FUNCTIONS_ON_RUNTIME
)

# All functions of a project, archived ones too. Arguments: project id.
FUNCTIONS_LIST = Query(
    name="functions_list",
    model=FUNCTIONS,
    answer=Function,
    parameters=("uuid", "bigint", "integer"),
    sql=ROWS
    + """
      WHERE t.tenant_id = $1 AND t.project_id = $2 AND t.first_position < $3
      ORDER BY t.first_position DESC
      LIMIT $4""",
    select=_page,
    order="newest_first",
)
