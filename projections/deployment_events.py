"""The timeline: every event of a deployment, with a sentence for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from domain.deployment import DEPLOYMENT, DeploymentQueued
from eventstore.codec import tag_of
from eventstore.meta import Actor
from projections.deployment_messages import message_of
from projections.query import ROWS, Found, Query, page_of
from projections.read_model import Column, Index, ReadModel
from projections.recorded import Recorded


class TimelineEvent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One entry; the position it stands at is that of the row. `data` is the event's own, less the whole release."""

    type: str
    at: datetime
    actor: Actor
    message: str
    data: dict[str, Any]
    correlation_id: UUID | None
    causation_id: str


class ProjectTimelineEvent(TimelineEvent, frozen=True, kw_only=True, rename="camel"):
    """One entry of the timeline of all deployments of a project."""

    deployment_id: UUID


class TimelineRow(ProjectTimelineEvent, frozen=True, kw_only=True, rename="camel"):
    project_id: UUID | None


def keys(recorded: Recorded) -> Sequence[UUID]:
    # One row an event, so that the position is all there is to know it by.
    return (UUID(int=recorded.position),)


def project(row: TimelineRow | None, recorded: Recorded) -> TimelineRow | None:
    event: Any = recorded.event
    meta = recorded.meta
    return TimelineRow(
        type=tag_of(type(event)),
        at=recorded.at,
        actor=meta.actor,
        message=message_of(event),
        data=_data(event),
        correlation_id=meta.correlation_id,
        causation_id=meta.causation_id,
        deployment_id=recorded.stream_id,
        project_id=meta.project_id,
    )


def _data(event: Any) -> dict[str, Any]:
    if isinstance(event, DeploymentQueued):
        return _queued(event)
    data: dict[str, Any] = msgspec.to_builtins(event)
    del data["type"]
    data.pop("at", None)
    return data


def _queued(event: DeploymentQueued) -> dict[str, Any]:
    release = event.release
    data: dict[str, Any] = msgspec.to_builtins(
        {
            "number": event.number,
            "origin": event.origin,
            "reason": event.reason,
            "functionId": release.function_id,
            "functionRevision": release.function_revision,
            "runtime": release.runtime,
            "provider": release.provider,
            "target": release.target,
            "sources": release.sources,
            "warnings": event.warnings,
        }
    )
    return data


DEPLOYMENT_EVENTS = ReadModel(
    name="deployment_events",
    version=2,
    row=TimelineRow,
    interests=DEPLOYMENT.events,
    keys=keys,
    project=project,
    columns=(
        Column("deployment_id", "uuid", lambda row: row.deployment_id),
        Column("project_id", "uuid", lambda row: row.project_id),
    ),
    indexes=(
        Index("in_order", "tenant_id, deployment_id, first_position"),
        Index("of_project", "tenant_id, project_id, first_position"),
    ),
    keeps_history=False,
    append_only=True,
)


def _page(rows: Iterable[Found[TimelineRow]], deployment_id: UUID, after: int, limit: int) -> list[Found[TimelineRow]]:
    return page_of((found for found in rows if found.row.deployment_id == deployment_id), "oldest_first", after, limit)


def _page_of_project(
    rows: Iterable[Found[TimelineRow]], project_id: UUID, after: int, limit: int
) -> list[Found[TimelineRow]]:
    return page_of((found for found in rows if found.row.project_id == project_id), "oldest_first", after, limit)


# A deployment's events. Arguments: the deployment's id.
TIMELINE = Query(
    name="timeline",
    model=DEPLOYMENT_EVENTS,
    answer=TimelineEvent,
    parameters=("uuid", "bigint", "integer"),
    sql=ROWS
    + """
      WHERE t.tenant_id = $1 AND t.deployment_id = $2 AND t.first_position > $3
      ORDER BY t.first_position
      LIMIT $4""",
    select=_page,
    order="oldest_first",
)

# The events of all deployments of a project. Arguments: the project's id.
TIMELINE_OF_PROJECT = Query(
    name="timeline_of_project",
    model=DEPLOYMENT_EVENTS,
    answer=ProjectTimelineEvent,
    parameters=("uuid", "bigint", "integer"),
    sql=ROWS
    + """
      WHERE t.tenant_id = $1 AND t.project_id = $2 AND t.first_position > $3
      ORDER BY t.first_position
      LIMIT $4""",
    select=_page_of_project,
    order="oldest_first",
)


def _news(
    rows: Iterable[Found[TimelineRow]], tenants: Sequence[UUID], projects: Sequence[UUID], afters: Sequence[int]
) -> list[Found[TimelineRow]]:
    found: list[Found[TimelineRow]] = []
    every = list(rows)
    for tenant_id, project_id, after in zip(tenants, projects, afters, strict=True):
        own = (row for row in every if row.tenant_id == tenant_id)
        found += _page_of_project(own, project_id, after, 1)
    return found


# The next event of each of several projects, of those that have one. Arguments: their tenants, their ids, and the
# positions behind which it is looked.
TIMELINE_NEWS = Query(
    name="timeline_news",
    model=DEPLOYMENT_EVENTS,
    answer=TimelineRow,
    parameters=("uuid[]", "uuid[]", "bigint[]"),
    sql="""
    SELECT n.tenant_id, n.id, n.first_position, n.position, n.row
      FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS w (tenant_id, project_id, after)
     CROSS JOIN LATERAL (
            SELECT t.tenant_id, t.id, t.first_position, t.position, t.row
              FROM {table} t
             WHERE t.tenant_id = w.tenant_id AND t.project_id = w.project_id AND t.first_position > w.after
             ORDER BY t.first_position
             LIMIT 1) n""",
    select=_news,
    audience="engine",
)
