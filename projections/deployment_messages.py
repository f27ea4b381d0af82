"""What happened to a deployment, in one sentence for people."""

from __future__ import annotations

from typing import assert_never

from domain.deployment import (
    BuildFailed,
    BuildStarted,
    BuildSucceeded,
    CancelRequested,
    DeploymentActivated,
    DeploymentBundled,
    DeploymentCanceled,
    DeploymentClaimed,
    DeploymentEvent,
    DeploymentFailed,
    DeploymentQueued,
    DeploymentRetired,
    DeploymentSucceeded,
    DeploymentSuperseded,
    DeploymentUndeployed,
    DeploymentWaiting,
    DeploymentWithdrawn,
    DriftCleared,
    DriftFound,
    FailureFound,
    ImagePushed,
    ReleaseApplied,
    ReleaseStarted,
    ReleaseVerified,
    UndeployFailed,
    UndeployRequested,
    UndeployStarted,
)


def message_of(event: DeploymentEvent) -> str:  # noqa: C901 - one case an event
    """The sentence. It names no secret: events carry none."""
    match event:
        case DeploymentQueued(number=number, release=release):
            return f"Deployment {number} was queued for {release.provider} on Dart {release.runtime}."
        case DeploymentClaimed(runner_id=runner_id):
            return f"Runner {runner_id} took the deployment."
        case DeploymentBundled():
            return "The source files were bundled."
        case BuildStarted():
            return "The build started."
        case BuildSucceeded(toolchain=toolchain):
            built = f" with Dart {toolchain.version} ({toolchain.engine})" if toolchain else ""
            return f"The build succeeded{built}."
        case BuildFailed(failure=failure):
            return f"The build failed: {failure.message}"
        case ImagePushed(reference=reference):
            return f"The image was pushed to {reference}."
        case ReleaseStarted():
            return "The release is being applied."
        case ReleaseApplied(url=url):
            return f"The release was applied; it will answer at {url}."
        case ReleaseVerified():
            return "The release answers."
        case DeploymentActivated(replaced=None):
            return "The release serves the function's address."
        case DeploymentActivated(replaced=replaced):
            return f"The release serves the function's address, in place of deployment {replaced}."
        case DeploymentSucceeded(despite=None):
            return "The deployment succeeded."
        case DeploymentSucceeded():
            return "The deployment succeeded after all: its release was found serving."
        case FailureFound(failure=failure):
            return f"The deployment cannot go on: {failure.message}"
        case DeploymentFailed(failure=failure, remaining=remaining):
            return f"The deployment failed at {failure.step}: {failure.message}{_left(remaining)}"
        case CancelRequested():
            return "Canceling was asked for."
        case DeploymentCanceled(cause="superseded"):
            return "The deployment was canceled: a newer one of the same function and target overtook it."
        case DeploymentCanceled(remaining=remaining):
            return f"The deployment was canceled as asked.{_left(remaining)}"
        case DeploymentSuperseded(by_deployment_id=by):
            return f"Deployment {by} overtook this one."
        case DeploymentWaiting(step=step, message=message, retry_in_seconds=seconds):
            return f"Waiting at {step} for {seconds:g} seconds: {message}"
        case UndeployRequested():
            return "Undeploying was asked for."
        case UndeployStarted():
            return "Undeploying started."
        case DeploymentWithdrawn(remaining=()):
            return "All that the deployment had made is gone."
        case DeploymentWithdrawn(remaining=remaining):
            return f"What the deployment had made was taken away.{_left(remaining)}"
        case DeploymentUndeployed():
            return "The deployment was undeployed."
        case UndeployFailed(failure=failure, remaining=remaining):
            return f"Undeploying failed: {failure.message}{_left(remaining)}"
        case DeploymentRetired(releases_kept=kept):
            return f"The release is kept no longer: there are {kept} newer ones."
        case DriftFound(differences=differences):
            return f"The cloud differs from what was released: {'; '.join(differences)}."
        case DriftCleared():
            return "What the cloud shows differs from the release no longer."
        case _:
            assert_never(event)


def _left(remaining: tuple[str, ...]) -> str:
    return f" Still there: {', '.join(remaining)}." if remaining else ""
