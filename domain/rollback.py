"""Whether a function can go back to a deployment without a build; and if not, why."""

from __future__ import annotations

from domain.deployment import Deployment, DeploymentStatus
from domain.refusal import Conflict
from domain.release import PinnedImage


class RollbackPending(Conflict):
    """The deployment has no outcome yet."""

    code = "rollback_pending"
    remedy = "Follow its events until it has one."


class RollbackNotSucceeded(Conflict):
    """The deployment did not succeed."""

    code = "rollback_not_succeeded"
    remedy = "Choose one that succeeded, or retry this one."


class RollbackActive(Conflict):
    """The deployment is the active one."""

    code = "rollback_active"
    remedy = "To build it again, redeploy it."


class RollbackUndeployed(Conflict):
    """What the deployment had made was taken away by undeploying it."""

    code = "rollback_undeployed"
    remedy = "Redeploy it: the same release is built again."


class RollbackImageGone(Conflict):
    """The deployment's image is no longer kept: the plan keeps the newest releases only."""

    code = "rollback_image_gone"
    remedy = "Redeploy it: the same release is built again."


class RollbackRuntimeEnded(Conflict):
    """The release's runtime may no longer be run."""

    code = "rollback_runtime_ended"
    remedy = "Move the function to a supported runtime, then deploy it."


def refusal_of(status: DeploymentStatus, *, active: bool, retired: bool) -> type[Conflict] | None:
    """Why not, as far as the deployment itself can tell; None: it succeeded, and its image is kept."""
    match status:
        case "queued" | "running" | "deploying":
            return RollbackPending
        case "failed" | "canceled":
            return RollbackNotSucceeded
        case "undeploy_queued" | "undeploying" | "undeployed" | "undeploy_failed":
            return RollbackUndeployed
        case "succeeded" if active:
            return RollbackActive
        case "succeeded":
            return RollbackImageGone if retired else None


def image_of(deployment: Deployment) -> PinnedImage:
    """What the deployment ran. Raises RollbackImageGone when it came to no image."""
    if not deployment.image_reference:
        raise RollbackImageGone
    return PinnedImage(
        reference=deployment.image_reference, digest=deployment.image_digest, toolchain=deployment.toolchain
    )
