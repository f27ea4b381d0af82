"""What differs: between two deployments' releases, and between a function as it is saved and as it is live."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, get
from litestar.params import FromPath

from api.answer import Answer, encoded
from api.listing import arguments
from api.operation import Operation, Parameter
from api.reading import found_or, reached, tenant_of
from api.services import Services
from commands.basis import fold
from domain.deployment import DeploymentUnknown
from domain.function import FUNCTION, FunctionUnknown
from domain.release_diff import Difference, Needs, between, needs_of, since
from projections.deployment_lists import DEPLOYMENT
from projections.deployments import Deployment
from projections.functions import FUNCTION_GET


class ReleaseDiff(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the deployment's release changes against the other one's, which is `before`.

    `needs` says what it takes to go from the one to the other; null: nothing differs, or there is nothing to compare with.
    """

    deployment_id: UUID
    against: UUID | None
    items: tuple[Difference, ...]
    needs: Needs | None


class FunctionDiff(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What deploying the function as it is saved would change of what is live; nothing is live: `against` is null."""

    function_id: UUID
    against: UUID | None
    items: tuple[Difference, ...]
    needs: Needs | None


_AGAINST = Parameter(
    name="against", type=UUID, description="The deployment to compare with; the function's active one when not given."
)
_DEPLOYMENT_DIFF = Operation(
    name="diffDeployment",
    permission="deployments:read",
    summary="What a deployment's release changes against another one",
    tag="Deployments",
    answers={200: ReleaseDiff},
    query=(_AGAINST,),
    refusals=(DeploymentUnknown,),
)


@get("/projects/{project_id:uuid}/deployments/{deployment_id:uuid}/diff", opt=_DEPLOYMENT_DIFF.as_opt())
async def diff_deployment(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], deployment_id: FromPath[UUID]
) -> Answer:
    services, tenant_id = await reached(request), tenant_of(request)
    deployment = await _deployment(services, tenant_id, project_id, deployment_id)
    against: UUID | None = arguments(request, (_AGAINST,)).get("against")
    if against is None:
        function = await services.reader.one(FUNCTION_GET, tenant_id, deployment.function_id)
        against = function.row.active_deployment_id if function else None
    items: tuple[Difference, ...] = ()
    if against is not None:
        before = await _deployment(services, tenant_id, project_id, against)
        items = between(before.release, deployment.release)
    diff = ReleaseDiff(deployment_id=deployment_id, against=against, items=items, needs=needs_of(items))
    return Answer(encoded(diff))


_FUNCTION_DIFF = Operation(
    name="diffFunction",
    permission="functions:read",
    summary="What deploying a function as it is saved would change",
    tag="Functions",
    answers={200: FunctionDiff},
    refusals=(FunctionUnknown,),
)


@get("/projects/{project_id:uuid}/functions/{function_id:uuid}/diff", opt=_FUNCTION_DIFF.as_opt())
async def diff_function(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], function_id: FromPath[UUID]
) -> Answer:
    services, tenant_id = await reached(request), tenant_of(request)
    function = found_or(FunctionUnknown, await services.reader.one(FUNCTION_GET, tenant_id, function_id)).row
    if function.project_id != project_id:
        raise FunctionUnknown
    against = function.active_deployment_id
    items: tuple[Difference, ...] = ()
    if against is not None:
        live = await _deployment(services, tenant_id, project_id, against)
        # The versions of secrets stand in no row: only their names are shown.
        saved = (await fold(services.log, FUNCTION, FUNCTION.stream(tenant_id, function_id))).inputs
        items = since(live.release.inputs, saved)
    diff = FunctionDiff(function_id=function_id, against=against, items=items, needs=needs_of(items))
    return Answer(encoded(diff))


async def _deployment(services: Services, tenant_id: UUID, project_id: UUID, deployment_id: UUID) -> Deployment:
    return found_or(DeploymentUnknown, await services.reader.one(DEPLOYMENT, tenant_id, project_id, deployment_id)).row


DIFFERENCE_ROUTES = (diff_deployment, diff_function)
