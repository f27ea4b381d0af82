"""Deployments: queue, validate, get, list, cancel, undeploy."""

from __future__ import annotations

from typing import Annotated, Any, cast
from uuid import UUID

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath

from api.answer import Answer, encoded, entity, unsettled
from api.artifact_files import ArtifactFilesRequest, artifact_ids
from api.as_of import AS_OF, reached_as_of
from api.body import read
from api.example_ids import FUNCTION_ID
from api.instant import Instant
from api.listing import PAGE_PARAMETERS, Listed, asked, page, row_bytes
from api.operation import Operation, Parameter
from api.queue_place import place_behind, place_of, waiting
from api.reading import found_or, require_project, tenant_of
from api.services import Services, services_of
from api.targets import (
    AwsTargetRequest,
    AzureTargetRequest,
    GcpTargetRequest,
    LocalTargetRequest,
    ProviderNotOffered,
    offered,
    target_of,
)
from api.writing import Reply, Writing, recorded_time
from commands.claimed import QueueFull
from commands.command import States
from commands.deployment import (
    AgainCommand,
    CancelDeployment,
    DeploymentCommand,
    QueueDeployment,
    RollbackDeployment,
    UndeployDeployment,
)
from commands.entitlements import RuntimeTargetNotEntitled
from commands.execute import decide_only
from commands.new_release import ArtifactMissing, MainMissing, SdkConstraintMissing
from domain.artifact import ArtifactGone, ArtifactOfAnotherKind, ArtifactOutOfReach, ArtifactUnknown
from domain.clouds import ProviderName, provider_of
from domain.deployment import (
    DEPLOYMENT,
    CancelTooLate,
    DeploymentIsOver,
    DeploymentNotActive,
    DeploymentStatus,
    DeploymentUnknown,
    UndeployUnderWay,
)
from domain.function import FUNCTION, EnvironmentTooLarge, FunctionIsArchived, FunctionUnknown
from domain.integration import IdentityNotVerified, ProviderNotConnected, StorageNotConfigured
from domain.placement import TargetNotTaken, VariableNameRefused, VariableReserved
from domain.project import ProjectDeploymentsLocked, ProjectIsArchived, ProjectUnknown
from domain.refusal import Refusal
from domain.runtime import RuntimeNotDeployable, RuntimeUnknown, SdkConstraintNotMet
from domain.trigger import TriggerUnavailable
from projections.deployment_lists import DEPLOYMENT as DEPLOYMENT_GET
from projections.deployment_lists import DeploymentFilter, deployments_list
from projections.deployments import CanRollback, Deployment, PinnedRelease, can_rollback, refused_rollback
from projections.query import Found

Reason = Annotated[str, msgspec.Meta(max_length=500, examples=["new greeting"])]


class _DeploymentRequest(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel", tag_field="provider"
):
    """What to deploy and where. Files that are not named are those last staged for the function.

    With `validateOnly` the answer shows the deployment as it would be queued, and nothing is recorded.
    """

    function_id: UUID
    artifact_files: ArtifactFilesRequest = ArtifactFilesRequest()
    reason: Reason = ""
    validate_only: bool = False


class LocalDeploymentRequest(_DeploymentRequest, frozen=True, kw_only=True, tag="local"):
    """A deployment to this machine."""

    target: LocalTargetRequest = LocalTargetRequest()


class AwsDeploymentRequest(_DeploymentRequest, frozen=True, kw_only=True, tag="aws"):
    """A deployment to AWS Lambda."""

    target: AwsTargetRequest


class AzureDeploymentRequest(_DeploymentRequest, frozen=True, kw_only=True, tag="azure"):
    """A deployment to Azure Container Apps."""

    target: AzureTargetRequest


class GcpDeploymentRequest(_DeploymentRequest, frozen=True, kw_only=True, tag="gcp"):
    """A deployment to Google Cloud."""

    target: GcpTargetRequest


DeploymentRequest = LocalDeploymentRequest | AwsDeploymentRequest | AzureDeploymentRequest | GcpDeploymentRequest
# What mypy does not see of a union: that it is the type of its members.
_ASKED = cast("type[DeploymentRequest]", DeploymentRequest)


class ReasonRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Why, for the audit trail."""

    reason: Reason = ""


# What keeps any deployment from being queued, and a release from being made of the function as it is saved.
QUEUEING = (
    ProjectUnknown,
    ProjectIsArchived,
    ProjectDeploymentsLocked,
    FunctionUnknown,
    FunctionIsArchived,
    RuntimeUnknown,
    RuntimeNotDeployable,
    TriggerUnavailable,
    TargetNotTaken,
    VariableReserved,
    VariableNameRefused,
    EnvironmentTooLarge,
    ProviderNotConnected,
    IdentityNotVerified,
    StorageNotConfigured,
    ArtifactGone,
    ArtifactOutOfReach,
    QueueFull,
)
_NEW_RELEASE = (
    ProviderNotOffered,
    RuntimeTargetNotEntitled,
    ArtifactMissing,
    ArtifactUnknown,
    ArtifactOfAnotherKind,
    MainMissing,
    SdkConstraintMissing,
    SdkConstraintNotMet,
)

_QUEUE = Operation(
    name="createDeployment",
    permission="deployments:write",
    summary="Queue a deployment of a function, or only check it",
    tag="Deployments",
    takes=DeploymentRequest,
    answers={200: Deployment, 202: Deployment},
    example={"functionId": str(FUNCTION_ID), "provider": "local", "target": {}},
    writes=True,
    refusals=(
        *QUEUEING,
        *_NEW_RELEASE,
    ),
)


@post("/projects/{project_id:uuid}/deployments", status_code=202, opt=_QUEUE.as_opt())
async def create_deployment(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    asked_for, content = await read(request, _ASKED)
    target = target_of(asked_for.target)
    provider = provider_of(target)
    writing = Writing(request, content)
    if asked_for.validate_only:
        writing.records_nothing()
    offered(services_of(request), provider)
    command = QueueDeployment(
        **writing.asked,
        project_id=project_id,
        function_id=asked_for.function_id,
        deployment_id=writing.new_id(),
        provider=provider,
        target=target,
        artifact_files=artifact_ids(asked_for.artifact_files, project_id),
        reason=asked_for.reason,
    )
    if asked_for.validate_only:
        states = await decide_only(services_of(request).log, command)
        # Nothing is recorded, so the time it would be queued at is the time it was asked.
        shown = msgspec.structs.replace(deployment_answer(command, states), queued_at=command.at)
        return Answer(encoded(shown))
    return await queue(request, writing, command)


async def queue(request: Request[Any, Any, Any], writing: Writing, command: QueueDeployment | AgainCommand) -> Answer:
    """The answer to whatever queues a new deployment: that one, and its place in the queue."""
    location = f"/api/v1/projects/{command.project_id}/deployments/{command.deployment_id}"
    ahead = await waiting(services_of(request), command.tenant_id)

    def answer(states: States) -> Reply:
        place = place_behind(ahead, command.tenant_id, states)
        body = msgspec.structs.replace(deployment_answer(command, states), queue_position=place)
        return Reply(status=202, location=location, body=body, position="first")

    return await writing.do(command, answer)


_GET = Operation(
    name="getDeployment",
    permission="deployments:read",
    summary="Get a deployment",
    tag="Deployments",
    answers={200: Deployment},
    query=(AS_OF,),
    refusals=(DeploymentUnknown,),
)


@get("/projects/{project_id:uuid}/deployments/{deployment_id:uuid}", opt=_GET.as_opt())
async def get_deployment(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], deployment_id: FromPath[UUID]
) -> Answer:
    services = await reached_as_of(request)
    found = await services.reader.one(DEPLOYMENT_GET, tenant_of(request), project_id, deployment_id)
    known = found_or(DeploymentUnknown, found)
    if services.reader is services_of(request).reader:
        if known.row.status == "queued":
            return _unsettled(known, queue_position=place_of(deployment_id, await waiting(services, known.tenant_id)))
        if known.row.can_rollback.allowed:
            return _unsettled(known, can_rollback=await _asked_to_go_back(services, known))
    return entity(request, row_bytes(DEPLOYMENT_GET, known), known.position)


def _unsettled(found: Found[Deployment], **now: object) -> Answer:
    return unsettled(encoded(msgspec.structs.replace(found.row, **now)), found.position)


async def _asked_to_go_back(services: Services, found: Found[Deployment]) -> CanRollback:
    """What rolling back would be answered now: also the function, its runtime and its provider have a say."""
    command = RollbackDeployment(
        tenant_id=found.tenant_id,
        at=services.clock(),
        project_id=found.row.project_id,
        deployment_id=UUID(int=0),
        source_deployment_id=found.id,
    )
    try:
        await decide_only(services.log, command)
    except Refusal as refusal:
        return refused_rollback(refusal)
    return found.row.can_rollback


_FILTERS = (
    Parameter(name="functionId", type=UUID, description="Only those of this function."),
    Parameter(name="status", type=DeploymentStatus, description="Only those in this status."),
    Parameter(name="provider", type=ProviderName, description="Only those on this provider."),
    Parameter(name="queuedFrom", type=Instant, description="Only those queued at this time or later (RFC 3339)."),
    Parameter(name="queuedBefore", type=Instant, description="Only those queued before this time (RFC 3339)."),
)
_LIST = Operation(
    name="listDeployments",
    permission="deployments:read",
    summary="List the deployments of a project, newest first",
    tag="Deployments",
    answers={200: Listed[Deployment]},
    query=(*PAGE_PARAMETERS, *_FILTERS, AS_OF),
    refusals=(ProjectUnknown,),
)


@get("/projects/{project_id:uuid}/deployments", opt=_LIST.as_opt())
async def list_deployments(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    services, tenant_id = await reached_as_of(request), tenant_of(request)
    wanted = await asked(request, services, (*_FILTERS, AS_OF))
    query, values = deployments_list(project_id, _filter(wanted.filters))
    found = await services.reader.page(query, tenant_id, *values, after=wanted.after, limit=wanted.limit)
    if not found.items:
        await require_project(services, tenant_id, project_id)
    return await page(services, query, found)


_CANCEL = Operation(
    name="cancelDeployment",
    permission="deployments:write",
    summary="Cancel a deployment that has no outcome yet",
    tag="Deployments",
    takes=ReasonRequest,
    answers={202: Deployment},
    example={"reason": "wrong version"},
    writes=True,
    if_match=True,
    refusals=(
        DeploymentUnknown,
        DeploymentIsOver,
        CancelTooLate,
    ),
)


@post("/projects/{project_id:uuid}/deployments/{deployment_id:uuid}/cancel", status_code=202, opt=_CANCEL.as_opt())
async def cancel_deployment(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], deployment_id: FromPath[UUID]
) -> Answer:
    asked_for, content = await read(request, ReasonRequest)
    writing = Writing(request, content)
    command = CancelDeployment(
        **writing.asked, project_id=project_id, deployment_id=deployment_id, reason=asked_for.reason
    )
    return await _act(request, writing, command)


_UNDEPLOY = Operation(
    name="undeployDeployment",
    permission="deployments:write",
    summary="Take the active deployment away",
    tag="Deployments",
    takes=ReasonRequest,
    answers={202: Deployment},
    example={"reason": "no longer needed"},
    writes=True,
    if_match=True,
    refusals=(
        DeploymentUnknown,
        DeploymentNotActive,
        UndeployUnderWay,
    ),
)


@post("/projects/{project_id:uuid}/deployments/{deployment_id:uuid}/undeploy", status_code=202, opt=_UNDEPLOY.as_opt())
async def undeploy_deployment(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], deployment_id: FromPath[UUID]
) -> Answer:
    asked_for, content = await read(request, ReasonRequest)
    writing = Writing(request, content)
    command = UndeployDeployment(
        **writing.asked, project_id=project_id, deployment_id=deployment_id, reason=asked_for.reason
    )
    return await _act(request, writing, command)


async def _act(
    request: Request[Any, Any, Any], writing: Writing, command: CancelDeployment | UndeployDeployment
) -> Answer:
    services = services_of(request)
    # The ETag is left to a GET: the runner is at work on the same deployment.
    return await writing.do(
        command,
        lambda states: Reply(status=202, body=deployment_answer(command, states), position="none"),
        entity=DEPLOYMENT.stream(command.tenant_id, command.deployment_id),
        versions=await _versions(services, command) if writing.has_precondition else None,
    )


async def _versions(services: Services, command: CancelDeployment | UndeployDeployment) -> dict[int, int]:
    """The present ETag and the stream's last position, if nothing happened since the ETag was given.

    They differ: the deployment's row is also touched by events of its function.
    """
    stream = DEPLOYMENT.stream(command.tenant_id, command.deployment_id)
    found = await services.reader.one(DEPLOYMENT_GET, command.tenant_id, command.project_id, command.deployment_id)
    (events,) = await services.log.load([stream])
    if found is None or not events or events[-1].position > found.position:
        return {}
    return {found.position: events[-1].position}


def _is_active(command: DeploymentCommand, function_id: UUID, states: States) -> bool:
    if isinstance(command, CancelDeployment):
        return False  # What can be canceled never became active.
    function = states.of(FUNCTION, command.tenant_id, function_id)
    return any(active.deployment_id == command.deployment_id for active in function.active.values())


def _filter(given: dict[str, Any]) -> DeploymentFilter:
    return DeploymentFilter(
        function_id=given.get("functionId"),
        status=given.get("status"),
        provider=given.get("provider"),
        queued_from=given.get("queuedFrom"),
        queued_before=given.get("queuedBefore"),
    )


def deployment_answer(command: DeploymentCommand, states: States) -> Deployment:
    """The deployment as it is after the command."""
    state = states.of(DEPLOYMENT, command.tenant_id, command.deployment_id)
    release = state.release
    assert release is not None
    active = _is_active(command, release.function_id, states)
    pinned = PinnedRelease(
        **msgspec.structs.asdict(release),
        toolchain=state.toolchain,
        image_reference=state.image_reference or None,
        image_digest=state.image_digest or None,
    )
    return Deployment(
        deployment_id=command.deployment_id,
        function_id=release.function_id,
        project_id=state.project_id,
        provider=release.provider,
        target=release.target,
        number=state.number,
        origin=state.origin,
        source_deployment_id=state.source_deployment_id,
        status=state.status,
        active=active,
        release=pinned,
        url=state.url,
        warnings=state.warnings,
        failure=state.failure,
        remaining=state.remaining,
        drift=state.drift,
        retired=state.retired,
        withdrawn=state.withdrawn,
        queued_at=recorded_time(state.queued_at),
        started_at=state.started_at,
        finished_at=recorded_time(state.finished_at) if state.outcome else None,
        reason=state.reason,
        cancel_requested=state.cancel_requested,
        superseded_by=state.superseded_by,
        can_rollback=can_rollback(state.status, active=active, retired=state.retired),
    )


DEPLOYMENT_ROUTES = (
    create_deployment,
    get_deployment,
    list_deployments,
    cancel_deployment,
    undeploy_deployment,
)
