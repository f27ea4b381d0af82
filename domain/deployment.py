"""A deployment: its release, the steps that were taken, its outcome, and its undeployment."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, assert_never
from uuid import UUID

import msgspec

from domain.event import Aggregate, Event
from domain.refusal import Conflict, NotFound
from domain.release import Release, Toolchain

DeploymentStatus = Literal[
    "queued",
    "running",
    "deploying",
    "succeeded",
    "failed",
    "canceled",
    "undeploy_queued",
    "undeploying",
    "undeployed",
    "undeploy_failed",
]
Origin = Literal["deploy", "retry", "redeploy", "rollback"]


# The scope of the counts of what is under way in each account and region of a cloud.
IN_ACCOUNT = "deployments_in_account"


class Failure(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Why it did not work, where, and what to do about it."""

    code: str
    step: str
    message: str
    remedy: str = ""


class Notice(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Something the caller should know although the deployment goes on."""

    code: str
    message: str
    days_remaining: int | None = None


class DeploymentQueued(Event, frozen=True, kw_only=True, tag="deployment.queued"):
    project_id: UUID
    number: int
    release: Release
    reason: str = ""
    warnings: tuple[Notice, ...] = ()
    origin: Origin = "deploy"
    source_deployment_id: UUID | None = None


class DeploymentClaimed(Event, frozen=True, kw_only=True, tag="deployment.claimed"):
    """A runner took the work; reports of every lower epoch are void from here on."""

    epoch: int
    runner_id: str
    # The account and region it is counted in from here on; empty when that was counted before, or never.
    account: str = ""


class DeploymentBundled(Event, frozen=True, kw_only=True, tag="deployment.bundled"):
    epoch: int
    location: str
    digest: str


class BuildStarted(Event, frozen=True, kw_only=True, tag="deployment.build_started"):
    epoch: int
    build_id: str


class BuildSucceeded(Event, frozen=True, kw_only=True, tag="deployment.build_succeeded"):
    epoch: int
    build_id: str
    toolchain: Toolchain | None = None
    warnings: tuple[Notice, ...] = ()


class BuildFailed(Event, frozen=True, kw_only=True, tag="deployment.build_failed"):
    epoch: int
    build_id: str
    failure: Failure


class ImagePushed(Event, frozen=True, kw_only=True, tag="deployment.pushed"):
    epoch: int
    reference: str
    digest: str


class ReleaseStarted(Event, frozen=True, kw_only=True, tag="deployment.release_started"):
    epoch: int


class ReleaseApplied(Event, frozen=True, kw_only=True, tag="deployment.release_applied"):
    epoch: int
    url: str
    revision: str = ""


class ReleaseVerified(Event, frozen=True, kw_only=True, tag="deployment.release_verified"):
    epoch: int


class DeploymentActivated(Event, frozen=True, kw_only=True, tag="deployment.activated"):
    epoch: int
    replaced: UUID | None = None


class DeploymentSucceeded(Event, frozen=True, kw_only=True, tag="deployment.succeeded"):
    """`despite`: why it was going to fail, until it turned out to serve."""

    epoch: int
    despite: Failure | None = None


class FailureFound(Event, frozen=True, kw_only=True, tag="deployment.failure_found"):
    """It cannot go on, and why; what it made is withdrawn before it is called failed.

    When it was about to serve, it succeeds all the same if the cloud turns out to have let it.
    """

    epoch: int
    failure: Failure


class DeploymentFailed(Event, frozen=True, kw_only=True, tag="deployment.failed"):
    """`remaining` names what could not be withdrawn; undeploying the deployment tries that again."""

    epoch: int
    failure: Failure
    remaining: tuple[str, ...] = ()


class CancelRequested(Event, frozen=True, kw_only=True, tag="deployment.cancel_requested"):
    reason: str = ""


class DeploymentCanceled(Event, frozen=True, kw_only=True, tag="deployment.canceled"):
    cause: Literal["requested", "superseded"] = "requested"
    epoch: int = 0
    remaining: tuple[str, ...] = ()


class DeploymentSuperseded(Event, frozen=True, kw_only=True, tag="deployment.superseded"):
    by_deployment_id: UUID


class DeploymentWaiting(Event, frozen=True, kw_only=True, tag="deployment.waiting"):
    """The cloud asked us to come back later; or, at the step `queue`, nobody may begin it yet."""

    epoch: int
    step: str
    message: str
    retry_in_seconds: float


class UndeployRequested(Event, frozen=True, kw_only=True, tag="deployment.undeploy_requested"):
    reason: str = ""


class UndeployStarted(Event, frozen=True, kw_only=True, tag="deployment.undeploy_started"):
    epoch: int


class DeploymentWithdrawn(Event, frozen=True, kw_only=True, tag="deployment.withdrawn"):
    """What the deployment had made is gone, but for what `remaining` names."""

    epoch: int
    remaining: tuple[str, ...] = ()


class DeploymentUndeployed(Event, frozen=True, kw_only=True, tag="deployment.undeployed"):
    epoch: int


class UndeployFailed(Event, frozen=True, kw_only=True, tag="deployment.undeploy_failed"):
    epoch: int
    failure: Failure
    remaining: tuple[str, ...] = ()


class DeploymentRetired(Event, frozen=True, kw_only=True, tag="deployment.retired"):
    """The plan keeps newer releases only: from here on nobody goes back to this one, and what it made is taken away."""

    releases_kept: int


class DriftFound(Event, frozen=True, kw_only=True, tag="deployment.drift_found"):
    """What the cloud shows is not what was released."""

    differences: tuple[str, ...]


class DriftCleared(Event, frozen=True, kw_only=True, tag="deployment.drift_cleared"):
    pass


DeploymentEvent = (
    DeploymentQueued
    | DeploymentClaimed
    | DeploymentBundled
    | BuildStarted
    | BuildSucceeded
    | BuildFailed
    | ImagePushed
    | ReleaseStarted
    | ReleaseApplied
    | ReleaseVerified
    | DeploymentActivated
    | DeploymentSucceeded
    | FailureFound
    | DeploymentFailed
    | CancelRequested
    | DeploymentCanceled
    | DeploymentSuperseded
    | DeploymentWaiting
    | UndeployRequested
    | UndeployStarted
    | DeploymentWithdrawn
    | DeploymentUndeployed
    | UndeployFailed
    | DeploymentRetired
    | DriftFound
    | DriftCleared
)


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """`step_since` is when the step now under way began; step limits count from it, across crashes.

    `claims_in_step` counts the runners that took the deployment since then, the last of them at `claimed_at`.
    `withdrawals` counts what was tried to take away what the deployment made.
    """

    exists: bool = False
    status: DeploymentStatus = "queued"
    outcome: Literal["succeeded", "failed", "canceled"] | None = None
    project_id: UUID = UUID(int=0)
    number: int = 0
    release: Release | None = None
    reason: str = ""
    origin: Origin = "deploy"
    source_deployment_id: UUID | None = None
    warnings: tuple[Notice, ...] = ()
    epoch: int = 0
    runner_id: str = ""
    # The account and region it is counted in while it is under way.
    counted_in: str = ""
    bundle_digest: str = ""
    build_id: str = ""
    build_succeeded: bool = False
    build_failure: Failure | None = None
    toolchain: Toolchain | None = None
    image_reference: str = ""
    image_digest: str = ""
    release_started: bool = False
    release_applied: bool = False
    release_verified: bool = False
    url: str | None = None
    revision: str = ""
    failure_found: Failure | None = None
    failure: Failure | None = None
    remaining: tuple[str, ...] = ()
    cancel_requested: bool = False
    superseded_by: UUID | None = None
    # What keeps it from being begun, as its timeline was told.
    held_back_by: str = ""
    withdrawn: bool = False
    withdrawals: int = 0
    retired: bool = False
    drift: tuple[str, ...] = ()
    queued_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    step_since: datetime | None = None
    claimed_at: datetime | None = None
    claims_in_step: int = 0

    @property
    def is_prebuilt(self) -> bool:
        """It runs what an earlier deployment built."""
        return self.release is not None and self.release.image is not None

    @property
    def failing(self) -> Failure | None:
        """Why it is going to fail, once that is known."""
        return self.build_failure or self.failure_found

    @property
    def is_canceling(self) -> bool:
        """Whoever asked was told that it will be canceled, so that it has no other outcome.

        Before requests that come too late were refused, one could be recorded of a release that was verified.
        """
        return self.cancel_requested and not self.release_verified

    @property
    def is_claimable(self) -> bool:
        """There is work for a runner."""
        return self.status in ("queued", "running", "deploying", "undeploy_queued", "undeploying")

    @property
    def is_under_way(self) -> bool:
        """A runner has begun, so the deployment holds its place at the target."""
        return self.status in ("running", "deploying", "undeploying")


class DeploymentUnknown(NotFound):
    """There is no such deployment in this project."""

    code = "deployment_not_found"
    remedy = "GET /api/v1/projects/{projectId}/deployments lists those of the project."


class DeploymentExists(Conflict):
    """The deployment was queued before."""

    code = "deployment_exists"


class DeploymentIsOver(Conflict):
    """The deployment already has its outcome; start a new one."""

    code = "deployment_is_over"
    remedy = "Retry, redeploy or roll back: each is a deployment of its own."


class CancelTooLate(Conflict):
    """The deployment is about to have its outcome, whatever is asked for now."""

    code = "cancel_too_late"
    remedy = "Wait for its outcome; if it succeeds, undeploy it or roll back to an earlier one."


class DeploymentPending(Conflict):
    """The deployment has no outcome yet."""

    code = "deployment_pending"
    remedy = "Follow its events until it has one, or cancel it."


class DeploymentNotRetryable(Conflict):
    """Only a failed or canceled deployment can be retried."""

    code = "deployment_not_retryable"
    remedy = "Redeploy it to build the same release again, or roll back to it."


class DeploymentNotActive(Conflict):
    """Only the active deployment can be undeployed, and this one is not."""

    code = "deployment_not_active"
    remedy = "GET …/deployments lists which one is active for the function."


class UndeployUnderWay(Conflict):
    """The deployment is being undeployed already."""

    code = "undeploy_under_way"
    remedy = "Follow its events until it is undeployed."


class StaleEpoch(Conflict):
    """Another runner has taken over this deployment; the report is void."""

    code = "stale_epoch"


class NotClaimable(Conflict):
    """There is nothing for a runner to do on this deployment."""

    code = "not_claimable"


class ReportOutOfPlace(Conflict):
    """The report does not fit where the deployment stands."""

    code = "report_out_of_place"


class SlotTaken(Conflict):
    """Another deployment of the function is under way at the target."""

    code = "slot_taken"


class TooManyInAccount(Conflict):
    """The tenant has as many deployments under way in this account and region as its plan allows."""

    code = "too_many_in_account"


class TooManyRunning(Conflict):
    """The tenant has as many deployments under way as its plan allows."""

    code = "too_many_running"


def evolve(deployment: Deployment, event: DeploymentEvent) -> Deployment:  # noqa: C901 - one case an event
    replace = msgspec.structs.replace
    match event:
        case DeploymentQueued():
            return _queued(event)
        case DeploymentClaimed():
            return _claimed(deployment, event)
        case DeploymentBundled():
            return _stepped(deployment, event, bundle_digest=event.digest)
        case BuildStarted():
            return _stepped(deployment, event, build_id=event.build_id)
        case BuildSucceeded():
            warnings = deployment.warnings + event.warnings
            return _stepped(deployment, event, build_succeeded=True, toolchain=event.toolchain, warnings=warnings)
        case BuildFailed():
            return _stepped(deployment, event, build_failure=event.failure)
        case ImagePushed():
            return _stepped(deployment, event, image_reference=event.reference, image_digest=event.digest)
        case ReleaseStarted():
            return _stepped(deployment, event, status="deploying", release_started=True)
        case ReleaseApplied():
            return _stepped(deployment, event, release_applied=True, url=event.url, revision=event.revision)
        case ReleaseVerified():
            return _stepped(deployment, event, release_verified=True)
        case DeploymentActivated():
            return deployment
        case DeploymentSucceeded():
            return replace(
                deployment,
                status="succeeded",
                outcome="succeeded",
                counted_in="",
                failure_found=None,
                finished_at=event.at,
                step_since=None,
            )
        case FailureFound():
            return _stepped(deployment, event, failure_found=event.failure)
        case DeploymentFailed():
            return replace(
                deployment,
                status="failed",
                outcome="failed",
                counted_in="",
                failure=event.failure,
                remaining=event.remaining,
                url=None,
                finished_at=event.at,
                step_since=None,
            )
        case CancelRequested():
            # Taking away is a step of its own, with a limit of its own.
            return _stepped(deployment, event, cancel_requested=True)
        case DeploymentCanceled():
            return replace(
                deployment,
                status="canceled",
                outcome="canceled",
                counted_in="",
                remaining=event.remaining,
                url=None,
                finished_at=event.at,
                step_since=None,
            )
        case DeploymentSuperseded():
            return replace(deployment, superseded_by=event.by_deployment_id)
        case DeploymentWaiting():
            return replace(deployment, held_back_by=event.message) if deployment.status == "queued" else deployment
        case UndeployRequested():
            return replace(
                deployment, status="undeploy_queued", failure=None, withdrawn=False, withdrawals=0, step_since=None
            )
        case UndeployStarted():
            return _stepped(deployment, event, status="undeploying")
        case DeploymentWithdrawn():
            withdrawn = replace(
                deployment,
                withdrawn=not event.remaining,
                withdrawals=deployment.withdrawals + 1,
                remaining=event.remaining,
            )
            # What is retired has no steps any more.
            return _stepped(withdrawn, event) if deployment.is_under_way else withdrawn
        case DeploymentUndeployed():
            return replace(deployment, status="undeployed", counted_in="", remaining=(), url=None, step_since=None)
        case UndeployFailed():
            return replace(
                deployment,
                status="undeploy_failed",
                counted_in="",
                failure=event.failure,
                remaining=event.remaining,
                step_since=None,
            )
        case DeploymentRetired():
            return replace(deployment, retired=True)
        case DriftFound():
            return replace(deployment, drift=event.differences)
        case DriftCleared():
            return replace(deployment, drift=())
        case _:
            assert_never(event)


def _queued(event: DeploymentQueued) -> Deployment:
    image = event.release.image
    return Deployment(
        exists=True,
        project_id=event.project_id,
        number=event.number,
        release=event.release,
        reason=event.reason,
        warnings=event.warnings,
        origin=event.origin,
        source_deployment_id=event.source_deployment_id,
        toolchain=image.toolchain if image else None,
        image_reference=image.reference if image else "",
        image_digest=image.digest if image else "",
        queued_at=event.at,
    )


def _claimed(deployment: Deployment, event: DeploymentClaimed) -> Deployment:
    claimed = msgspec.structs.replace(
        deployment,
        epoch=event.epoch,
        runner_id=event.runner_id,
        counted_in=event.account or deployment.counted_in,
        claimed_at=event.at,
        claims_in_step=deployment.claims_in_step + 1,
    )
    if deployment.status != "queued":
        return claimed
    return msgspec.structs.replace(claimed, status="running", started_at=event.at, step_since=event.at)


def _stepped(deployment: Deployment, event: DeploymentEvent, **changes: object) -> Deployment:
    """With the changes, at the beginning of its next step."""
    return msgspec.structs.replace(deployment, step_since=event.at, claims_in_step=0, **changes)


def is_over(deployment: Deployment) -> bool:
    """Nothing of it is left anywhere, and nothing will ever be made of it again; one that can be gone back to is not over."""
    match deployment.status:
        case "undeployed":
            return True
        case "failed" | "canceled":
            return not deployment.remaining
        case "succeeded":
            return deployment.retired
        case "queued" | "running" | "deploying" | "undeploy_queued" | "undeploying" | "undeploy_failed":
            return False


DEPLOYMENT = Aggregate(
    name="deployment",
    events=(
        DeploymentQueued,
        DeploymentClaimed,
        DeploymentBundled,
        BuildStarted,
        BuildSucceeded,
        BuildFailed,
        ImagePushed,
        ReleaseStarted,
        ReleaseApplied,
        ReleaseVerified,
        DeploymentActivated,
        DeploymentSucceeded,
        FailureFound,
        DeploymentFailed,
        CancelRequested,
        DeploymentCanceled,
        DeploymentSuperseded,
        DeploymentWaiting,
        UndeployRequested,
        UndeployStarted,
        DeploymentWithdrawn,
        DeploymentUndeployed,
        UndeployFailed,
        DeploymentRetired,
        DriftFound,
        DriftCleared,
    ),
    initial=Deployment(),
    evolve=evolve,
    is_over=is_over,
)


def require_of(deployment: Deployment, project_id: UUID) -> Release:
    """The release, if the deployment exists in the project. Raises DeploymentUnknown."""
    if not deployment.exists or deployment.release is None or deployment.project_id != project_id:
        raise DeploymentUnknown
    return deployment.release
