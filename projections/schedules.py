"""Schedules that we ourselves keep: of each function on this machine that one calls, the deployment that it calls now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from domain.deployment import DeploymentCanceled, DeploymentFailed, DeploymentQueued
from domain.function import FunctionDeployed, FunctionUndeployed
from domain.trigger import OWN_SCHEDULER, ScheduleSettings
from projections.deployments import keys
from projections.query import ROWS, Found, Query, page_of
from projections.read_model import Column, Index, ReadModel
from projections.recorded import Recorded


class Scheduled(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A deployment with a schedule. It is called only while it is the active one: `active_since` says since when."""

    deployment_id: UUID
    function_id: UUID
    project_id: UUID
    provider: str
    address: tuple[str, str, str]
    cron: str
    time_zone: str
    request_seconds_max: int
    active_since: datetime | None = None


def project(row: Scheduled | None, recorded: Recorded) -> Scheduled | None:
    match recorded.event:
        case DeploymentQueued() as event:
            return _scheduled(event, recorded.stream_id)
        case FunctionDeployed(deployment_id=deployment_id) if row and row.deployment_id == deployment_id:
            return msgspec.structs.replace(row, active_since=recorded.at)
        case _:
            return None  # It failed, was replaced or taken away; or it never had a schedule.


def sources(_tenant_id: UUID, id: UUID, row: Scheduled | None) -> Sequence[UUID]:
    return (id,) if row is None else (id, row.function_id)


def _scheduled(event: DeploymentQueued, deployment_id: UUID) -> Scheduled | None:
    release = event.release
    if release.trigger.type != "schedule" or release.provider not in OWN_SCHEDULER:
        return None
    settings = msgspec.convert(release.trigger.settings, ScheduleSettings)
    return Scheduled(
        deployment_id=deployment_id,
        function_id=release.function_id,
        project_id=event.project_id,
        provider=release.provider,
        address=release.address,
        cron=settings.cron,
        time_zone=settings.time_zone,
        request_seconds_max=release.request_seconds_max,
    )


SCHEDULES = ReadModel(
    name="schedules",
    version=1,
    row=Scheduled,
    interests=(DeploymentQueued, DeploymentFailed, DeploymentCanceled, FunctionDeployed, FunctionUndeployed),
    elsewhere=(FunctionDeployed, FunctionUndeployed),
    keys=keys,
    sources=sources,
    project=project,
    columns=(Column("kept", "boolean", lambda row: row.active_since is not None),),
    indexes=(Index("kept", "first_position", where="kept"),),
    keeps_history=False,
)


def _kept(rows: Iterable[Found[Scheduled]], after: int, limit: int) -> list[Found[Scheduled]]:
    return page_of((found for found in rows if found.row.active_since is not None), "oldest_first", after, limit)


# The schedules to be kept now.
SCHEDULES_KEPT = Query(
    name="schedules_kept",
    model=SCHEDULES,
    answer=Scheduled,
    parameters=("bigint", "integer"),
    sql=ROWS + " WHERE t.kept AND t.first_position > $1 ORDER BY t.first_position LIMIT $2",
    select=_kept,
    audience="engine",
    order="oldest_first",
)
