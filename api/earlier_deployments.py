"""Deployments made from earlier ones: retry, redeploy, roll back."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Request, post
from litestar.params import FromPath

from api.answer import Answer
from api.body import read
from api.deployments import QUEUEING, ReasonRequest, queue
from api.operation import Operation
from api.writing import Writing
from commands.deployment import AgainCommand, RedeployDeployment, RetryDeployment, RollbackDeployment
from domain.deployment import DeploymentNotRetryable, DeploymentPending, DeploymentUnknown
from domain.refusal import Refusal
from domain.rollback import (
    RollbackActive,
    RollbackImageGone,
    RollbackNotSucceeded,
    RollbackPending,
    RollbackRuntimeEnded,
    RollbackUndeployed,
)
from projections.deployments import Deployment

_PATH = "/projects/{project_id:uuid}/deployments/{deployment_id:uuid}"


def _operation(name: str, summary: str, reason: str, *own: type[Refusal]) -> Operation:
    return Operation(
        name=name,
        permission="deployments:write",
        summary=summary,
        tag="Deployments",
        takes=ReasonRequest,
        answers={202: Deployment},
        example={"reason": reason},
        writes=True,
        refusals=(DeploymentUnknown, *QUEUEING, *own),
    )


_RETRY = _operation(
    "retryDeployment",
    "Try a failed or canceled deployment once more",
    "the network is back",
    DeploymentNotRetryable,
    RollbackRuntimeEnded,
)


@post(f"{_PATH}/retry", status_code=202, opt=_RETRY.as_opt())
async def retry_deployment(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], deployment_id: FromPath[UUID]
) -> Answer:
    return await _again(request, RetryDeployment, project_id, deployment_id)


_REDEPLOY = _operation(
    "redeployDeployment", "Build and deploy the exact release once more", "a lost image", DeploymentPending
)


@post(f"{_PATH}/redeploy", status_code=202, opt=_REDEPLOY.as_opt())
async def redeploy_deployment(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], deployment_id: FromPath[UUID]
) -> Answer:
    return await _again(request, RedeployDeployment, project_id, deployment_id)


_ROLLBACK = _operation(
    "rollbackDeployment",
    "Go back to the deployment's release, without a build",
    "too many errors",
    RollbackPending,
    RollbackNotSucceeded,
    RollbackActive,
    RollbackUndeployed,
    RollbackImageGone,
    RollbackRuntimeEnded,
)


@post(f"{_PATH}/rollback", status_code=202, opt=_ROLLBACK.as_opt())
async def rollback_deployment(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], deployment_id: FromPath[UUID]
) -> Answer:
    return await _again(request, RollbackDeployment, project_id, deployment_id)


async def _again(
    request: Request[Any, Any, Any], kind: type[AgainCommand], project_id: UUID, deployment_id: UUID
) -> Answer:
    """Answers with the new deployment."""
    asked_for, content = await read(request, ReasonRequest)
    writing = Writing(request, content)
    command = kind(
        **writing.asked,
        project_id=project_id,
        deployment_id=writing.new_id(),
        source_deployment_id=deployment_id,
        reason=asked_for.reason,
    )
    return await queue(request, writing, command)


EARLIER_DEPLOYMENT_ROUTES = (retry_deployment, redeploy_deployment, rollback_deployment)
