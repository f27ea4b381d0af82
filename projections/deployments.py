"""Deployments: each as the API shows it, from queued to undeployed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

import msgspec

from domain.clouds import ProviderName, Target, target_key
from domain.deployment import (
    BuildSucceeded,
    CancelRequested,
    DeploymentCanceled,
    DeploymentClaimed,
    DeploymentFailed,
    DeploymentQueued,
    DeploymentRetired,
    DeploymentStatus,
    DeploymentSucceeded,
    DeploymentSuperseded,
    DeploymentUndeployed,
    DeploymentWithdrawn,
    DriftCleared,
    DriftFound,
    Failure,
    ImagePushed,
    Notice,
    Origin,
    ReleaseApplied,
    ReleaseStarted,
    UndeployFailed,
    UndeployRequested,
    UndeployStarted,
)
from domain.event import Event
from domain.function import FunctionDeployed, FunctionUndeployed
from domain.refusal import Refusal
from domain.release import Release, Toolchain
from domain.rollback import refusal_of
from projections.read_model import Column, Index, ReadModel, present
from projections.recorded import Recorded


class PinnedRelease(Release, frozen=True, kw_only=True, rename="camel", omit_defaults=False):
    """The release with what building it found: the toolchain that really ran, and the image."""

    toolchain: Toolchain | None = None
    image_reference: str | None = None
    image_digest: str | None = None


class CanRollback(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Whether the function can go back to this deployment without a build, and why; `code` is that of the refusal."""

    allowed: bool
    because: str
    code: str | None = None


class Deployment(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    deployment_id: UUID
    function_id: UUID
    project_id: UUID
    provider: ProviderName
    target: Target
    number: int
    origin: Origin
    source_deployment_id: UUID | None
    status: DeploymentStatus
    active: bool = False
    release: PinnedRelease
    url: str | None = None
    warnings: tuple[Notice, ...] = ()
    failure: Failure | None = None
    remaining: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()
    # The plan keeps newer releases only, so what this one made is taken away.
    retired: bool = False
    # All that it had made is gone.
    withdrawn: bool = False
    queued_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    reason: str
    cancel_requested: bool = False
    superseded_by: UUID | None = None
    can_rollback: CanRollback
    # Its place among what of the tenant's waits for a runner, from 1. It moves without events, so the row never holds it.
    queue_position: int | None = None


_KEPT = CanRollback(allowed=True, because="The deployment succeeded and its image is kept.")


def can_rollback(status: DeploymentStatus, *, active: bool, retired: bool = False) -> CanRollback:
    """The answer as far as the deployment itself can tell; its runtime and provider have a say when it is asked for."""
    return _can_rollback(status, active, retired)


@cache
def _can_rollback(status: DeploymentStatus, active: bool, retired: bool) -> CanRollback:
    refusal = refusal_of(status, active=active, retired=retired)
    return _KEPT if refusal is None else refused_rollback(refusal())


def refused_rollback(refusal: Refusal) -> CanRollback:
    """The answer in the words of the refusal."""
    return CanRollback(allowed=False, because=refusal.detail, code=refusal.code)


def keys(recorded: Recorded) -> Sequence[UUID]:
    elsewhere = _ELSEWHERE.get(recorded.event.__class__)
    return (recorded.stream_id,) if elsewhere is None else elsewhere(recorded.event)


def project(row: Deployment | None, recorded: Recorded) -> Deployment | None:
    event = recorded.event
    change = _CHANGES.get(event.__class__)
    if change is not None:
        return change(present(row), event, recorded.at)
    return _queued(event, recorded) if isinstance(event, DeploymentQueued) else row


def _queued(event: DeploymentQueued, recorded: Recorded) -> Deployment:
    release = event.release
    return Deployment(
        deployment_id=recorded.stream_id,
        function_id=release.function_id,
        project_id=event.project_id,
        provider=release.provider,
        target=release.target,
        number=event.number,
        origin=event.origin,
        source_deployment_id=event.source_deployment_id,
        status="queued",
        release=_pinned(release),
        warnings=event.warnings,
        queued_at=recorded.at,
        reason=event.reason,
        can_rollback=_can_rollback("queued", False, False),
    )


def _pinned(release: Release) -> PinnedRelease:
    image = release.image
    return PinnedRelease(
        **msgspec.structs.asdict(release),
        toolchain=image.toolchain if image else None,
        image_reference=image.reference if image else None,
        image_digest=image.digest if image else None,
    )


def _claimed(row: Deployment, _: DeploymentClaimed, at: datetime) -> Deployment:
    return _status(row, "running", started_at=at) if row.status == "queued" else row


def _built(row: Deployment, event: BuildSucceeded, _: datetime) -> Deployment:
    release = _replace(row.release, toolchain=event.toolchain)
    return _replace(row, release=release, warnings=row.warnings + event.warnings)


def _pushed(row: Deployment, event: ImagePushed, _: datetime) -> Deployment:
    release = _replace(row.release, image_reference=event.reference, image_digest=event.digest)
    return _replace(row, release=release)


def _failed(row: Deployment, event: DeploymentFailed, at: datetime) -> Deployment:
    return _status(row, "failed", failure=event.failure, remaining=event.remaining, url=None, finished_at=at)


def _canceled(row: Deployment, event: DeploymentCanceled, at: datetime) -> Deployment:
    return _status(row, "canceled", remaining=event.remaining, url=None, finished_at=at)


def _withdrawn(row: Deployment, event: DeploymentWithdrawn, _: datetime) -> Deployment:
    return _replace(row, remaining=event.remaining, withdrawn=not event.remaining)


def _undeploy_failed(row: Deployment, event: UndeployFailed, _: datetime) -> Deployment:
    return _status(row, "undeploy_failed", failure=event.failure, remaining=event.remaining)


def _status(row: Deployment, status: DeploymentStatus, **changes: object) -> Deployment:
    possible = _can_rollback(status, row.active, row.retired)
    return _replace(row, status=status, can_rollback=possible, **changes)


def _active(row: Deployment, active: bool) -> Deployment:
    return _replace(row, active=active, can_rollback=_can_rollback(row.status, active, row.retired))


def _retired(row: Deployment) -> Deployment:
    return _replace(row, retired=True, can_rollback=_can_rollback(row.status, row.active, True))


def _of_deployed(event: FunctionDeployed) -> Sequence[UUID]:
    """The row that becomes active, and the one that was."""
    if event.replaced in (None, event.deployment_id):
        return (event.deployment_id,)
    return (event.deployment_id, event.replaced)


_replace = msgspec.structs.replace

# Python asks of an event once for each `case` whether it is of its class, which together would take longer than the
# rest: so what an event does is looked up by its class.
_ELSEWHERE: Mapping[type[Event], Callable[[Any], Sequence[UUID]]] = {
    FunctionDeployed: _of_deployed,
    FunctionUndeployed: lambda event: (event.deployment_id,),
}
_CHANGES: Mapping[type[Event], Callable[[Deployment, Any, datetime], Deployment]] = {
    DeploymentClaimed: _claimed,
    BuildSucceeded: _built,
    ImagePushed: _pushed,
    ReleaseStarted: lambda row, _event, _at: _status(row, "deploying"),
    ReleaseApplied: lambda row, event, _at: _replace(row, url=event.url),
    DeploymentSucceeded: lambda row, _event, at: _status(row, "succeeded", finished_at=at),
    DeploymentFailed: _failed,
    CancelRequested: lambda row, _event, _at: _replace(row, cancel_requested=True),
    DeploymentCanceled: _canceled,
    DeploymentSuperseded: lambda row, event, _at: _replace(row, superseded_by=event.by_deployment_id),
    UndeployRequested: lambda row, _event, _at: _status(row, "undeploy_queued", failure=None, withdrawn=False),
    UndeployStarted: lambda row, _event, _at: _status(row, "undeploying"),
    DeploymentWithdrawn: _withdrawn,
    DeploymentUndeployed: lambda row, _event, _at: _status(row, "undeployed", remaining=(), url=None),
    UndeployFailed: _undeploy_failed,
    DeploymentRetired: lambda row, _event, _at: _retired(row),
    DriftFound: lambda row, event, _at: _replace(row, drift=event.differences),
    DriftCleared: lambda row, _event, _at: _replace(row, drift=()),
    FunctionDeployed: lambda row, event, _at: _active(row, row.deployment_id == event.deployment_id),
    FunctionUndeployed: lambda row, _event, _at: _active(row, False),
}


def sources(_tenant_id: UUID, id: UUID, row: Deployment | None) -> Sequence[UUID]:
    return (id,) if row is None else (id, row.function_id)


def address_of(row: Deployment) -> str:
    """The path of the function's origin that the release answers under, without slashes at its ends."""
    return "/".join(row.release.address)


def slot_of(row: Deployment) -> str:
    """The place at which one deployment is active at a time."""
    return f"{row.function_id}/{target_key(row.target)}"


def is_former(row: Deployment) -> bool:
    """It succeeded, another one serves, and the function can still go back to it."""
    return row.status == "succeeded" and not row.active and not row.retired


DEPLOYMENTS = ReadModel(
    name="deployments",
    version=5,
    row=Deployment,
    # The rest of the aggregate's events shows in the timeline only.
    interests=(DeploymentQueued, *_CHANGES),
    elsewhere=tuple(_ELSEWHERE),
    keys=keys,
    sources=sources,
    project=project,
    columns=(
        Column("project_id", "uuid", lambda row: row.project_id),
        Column("function_id", "uuid", lambda row: row.function_id),
        Column("provider", "text", lambda row: row.provider),
        Column("status", "text", lambda row: row.status),
        Column("queued_at", "timestamptz", lambda row: row.queued_at),
        Column("active_address", "text", lambda row: address_of(row) if row.active else None),
        Column("active_runtime", "text", lambda row: row.release.runtime if row.active else None),
        Column("slot", "text", slot_of),
        Column("number", "bigint", lambda row: row.number),
        Column("active", "boolean", lambda row: row.active),
        Column("former", "boolean", is_former),
        Column("drifts", "boolean", lambda row: bool(row.drift)),
        Column("leftover", "boolean", lambda row: row.retired and not row.withdrawn),
    ),
    indexes=(
        Index("in_project", "tenant_id, project_id, first_position"),
        Index("of_function", "tenant_id, function_id, first_position"),
        Index("by_status", "tenant_id, project_id, status, first_position"),
        Index("by_time", "tenant_id, project_id, queued_at, first_position"),
        Index("by_address", "active_address", where="active_address IS NOT NULL"),
        # What of which tenants a runtime's dates would touch.
        Index("by_runtime", "active_runtime, first_position", where="active_runtime IS NOT NULL"),
        Index("watched", "first_position", where="active OR drifts"),
        Index("kept", "tenant_id, slot, number", where="active OR former"),
        Index("leftover", "first_position", where="leftover"),
    ),
)
