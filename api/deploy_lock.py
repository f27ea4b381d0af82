"""A project's deploy lock: while it lasts nothing new is deployed; what is live stays, and can be taken away."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, delete, get, put
from litestar.params import FromPath

from api.answer import Answer, encoded
from api.body import read
from api.instant import Instant, in_utc
from api.operation import Operation
from api.projects import lock_answer, settled
from api.reading import found_or, reached, tenant_of
from api.writing import Reply, Writing
from commands.command import States
from commands.deploy_lock import DeployLockCommand, LockDeployments, UnlockDeployments
from domain.project import LOCK_DAYS_MAX, PROJECT, LockedBy, LockExpiryNotAllowed, ProjectIsArchived, ProjectUnknown
from projections.projects import PROJECT as PROJECT_GET
from projections.projects import DeployLock

_PLACE = "/projects/{project_id:uuid}/deploy-lock"


class DeployLockRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """Why, and when it ends by itself. Whoever locks again replaces what was said before."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500, examples=["Stocktaking"])]
    expires_at: Annotated[
        Instant | None,
        msgspec.Meta(description=f"At most {LOCK_DAYS_MAX} days from now, and so long when it is not given."),
    ] = None


class ProjectLock(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The lock that counts now; null: deployments are not locked."""

    project_id: UUID
    deploy_lock: DeployLock | None


_LOCK = Operation(
    name="lockDeployments",
    permission="deployments:write",
    summary="Lock a project's deployments: nothing new is begun until the lock ends",
    tag="Projects",
    takes=DeployLockRequest,
    answers={200: ProjectLock},
    example={"reason": "Stocktaking"},
    writes=True,
    if_match=True,
    refusals=(ProjectUnknown, ProjectIsArchived, LockExpiryNotAllowed),
)


@put(_PLACE, opt=_LOCK.as_opt())
async def lock_deployments(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    asked_for, content = await read(request, DeployLockRequest)
    writing = Writing(request, content)
    actor = writing.principal.actor
    command = LockDeployments(
        **writing.asked,
        project_id=project_id,
        reason=asked_for.reason,
        locked_by=LockedBy(type=actor.type, id=actor.id),
        expires_at=None if asked_for.expires_at is None else in_utc(asked_for.expires_at, "expiresAt"),
    )
    return await _written(writing, command)


_UNLOCK = Operation(
    name="unlockDeployments",
    permission="deployments:write",
    summary="Take a project's deploy lock away, whoever made it",
    tag="Projects",
    answers={200: ProjectLock},
    writes=True,
    if_match=True,
    refusals=(ProjectUnknown, ProjectIsArchived),
)


@delete(_PLACE, status_code=200, opt=_UNLOCK.as_opt())
async def unlock_deployments(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    writing = Writing(request, b"")
    return await _written(writing, UnlockDeployments(**writing.asked, project_id=project_id))


async def _written(writing: Writing, command: DeployLockCommand) -> Answer:
    stream = PROJECT.stream(command.tenant_id, command.project_id)

    def answer(states: States) -> Reply:
        lock = lock_answer(states.at(PROJECT, stream), command.at)
        body = ProjectLock(project_id=command.project_id, deploy_lock=lock)
        return Reply(body=body, position="last" if states.moved(stream) else "unchanged")

    return await writing.do(command, answer, entity=stream)


_GET = Operation(
    name="getDeployLock",
    permission="projects:read",
    summary="Whether a project's deployments are locked: by whom, why and until when",
    tag="Projects",
    answers={200: ProjectLock},
    refusals=(ProjectUnknown,),
)


@get(_PLACE, opt=_GET.as_opt())
async def get_deploy_lock(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    services = await reached(request)
    found = found_or(ProjectUnknown, await services.reader.one(PROJECT_GET, tenant_of(request), project_id))
    project = settled(found.row, services.clock())
    return Answer(encoded(ProjectLock(project_id=project_id, deploy_lock=project.deploy_lock)))


DEPLOY_LOCK_ROUTES = (lock_deployments, unlock_deployments, get_deploy_lock)
