"""Functions: create, save, update, get, list, archive, and the revisions of each."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, get, patch, post, put
from litestar.params import FromPath
from msgspec import UNSET, UnsetType

from api.answer import Answer, encoded, entity
from api.artifact_files import ArtifactFileChangesRequest, ArtifactFilesRequest, artifact_ids, file_changes
from api.as_of import AS_OF, reached_as_of
from api.body import read
from api.example_ids import FUNCTION_ID, PROJECT_ID
from api.listing import PAGE_PARAMETERS, Listed, asked, listed, page, row_bytes
from api.operation import Operation
from api.reading import found_or, principal_of, reached, require_project, require_within, tenant_of
from api.services import Services, services_of
from api.writing import Reply, Writing, recorded_time
from commands.basis import CODEC, fold
from commands.claimed import Taken
from commands.command import States
from commands.function import (
    DEFAULT_RUNTIME,
    ENVIRONMENT_NAME_PATTERN,
    ArchiveFunction,
    Changes,
    CreateFunction,
    UpdateFunction,
)
from domain.artifact import ArtifactOfAnotherKind, ArtifactUnknown
from domain.clouds import ProviderName
from domain.function import (
    FUNCTION,
    ArtifactFiles,
    Authored,
    EnvironmentNameNotAllowed,
    EnvironmentTooLarge,
    EnvironmentValueNotAllowed,
    FunctionIsArchived,
    FunctionIsLive,
    FunctionNameTaken,
    FunctionUnknown,
    NameOfBoth,
)
from domain.function import Function as State
from domain.naming import NAME_PATTERN, NameNotAllowed, slug
from domain.project import ProjectIsArchived, ProjectUnknown
from domain.refusal import LimitReached, Refusal
from domain.release import Access, Trigger
from domain.runtime import RuntimeNotSelectable, RuntimeUnknown
from domain.trigger import TriggerSettingsInvalid, TriggerUnavailable, TriggerUnknown
from eventstore.log import StoredEvent
from eventstore.meta import Actor, decode_meta
from projections.functions import FUNCTION_BY_NAME, FUNCTION_GET, FUNCTIONS_LIST, Function

# Checked by the domain, with a refusal of its own; this only keeps what is read small.
Name = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=63, examples=["hello"], extra_json_schema={"pattern": NAME_PATTERN}),
]
Description = Annotated[str, msgspec.Meta(max_length=2000, examples=["Says hello"])]
RuntimeVersion = Annotated[str, msgspec.Meta(min_length=1, max_length=64, examples=["3.11.0"])]
Reason = Annotated[str, msgspec.Meta(max_length=500, examples=["no longer needed"])]
# How many variables there may be and how long is decided with the command; this only names the type.
Environment = Annotated[
    dict[str, str],
    msgspec.Meta(
        examples=[{"GREETING": "Hello"}], extra_json_schema={"propertyNames": {"pattern": ENVIRONMENT_NAME_PATTERN}}
    ),
]


class TriggerRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A type of GET /functions/trigger-types, and the settings its schema asks for."""

    type: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    settings: dict[str, object] = msgspec.field(default_factory=dict)

    @property
    def trigger(self) -> Trigger:
        return Trigger(type=self.type, settings=self.settings)


class FunctionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """All that an author decides about a function; what is left out gets its default, `runtime` that of GET /runtimes."""

    project_id: UUID
    name: Name
    description: Description = ""
    trigger: TriggerRequest = TriggerRequest(type="http")
    runtime: RuntimeVersion | UnsetType = UNSET
    access: Access = "private"
    provider: ProviderName | None = None
    environment: Environment = msgspec.field(default_factory=dict)
    artifact_files: ArtifactFilesRequest = ArtifactFilesRequest()


class SaveRequest(FunctionRequest, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """Without `functionId` the project's function of that name is meant, and made if there is none."""

    function_id: UUID | None = None


class ChangesRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """What is left out stays as it is; `trigger` and `environment` are replaced whole, `artifactFiles` file by file."""

    name: Name | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    trigger: TriggerRequest | UnsetType = UNSET
    runtime: RuntimeVersion | UnsetType = UNSET
    access: Access | UnsetType = UNSET
    provider: ProviderName | UnsetType | None = UNSET
    environment: Environment | UnsetType = UNSET
    artifact_files: ArtifactFileChangesRequest | UnsetType = UNSET


class UpdateRequest(ChangesRequest, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """Changes to the function of that id, in whichever of the tenant's projects it is."""

    function_id: UUID


class ArchiveFunctionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """With `undeployFirst` what is active is undeployed, and the function is archived when the last of it is gone."""

    undeploy_first: bool = False
    reason: Reason = ""


class Revision(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The record as an author saved it. `position` is its place in the log, and a cursor."""

    position: str
    revision: int
    at: datetime
    actor: Actor
    name: str
    description: str
    trigger: Trigger
    runtime: str
    access: Access
    provider: ProviderName | None
    environment: dict[str, str]
    artifact_files: ArtifactFiles


_EXAMPLE = {
    "projectId": str(PROJECT_ID),
    "name": "hello",
    "description": "Says hello",
    "trigger": {"type": "http", "settings": {}},
    "runtime": "3.11.0",
    "access": "public",
}

# What can be wrong with what an author says, and with the function it is said of.
_AUTHORING = (
    ProjectUnknown,
    ProjectIsArchived,
    FunctionNameTaken,
    NameNotAllowed,
    RuntimeUnknown,
    RuntimeNotSelectable,
    TriggerUnknown,
    TriggerSettingsInvalid,
    TriggerUnavailable,
    EnvironmentTooLarge,
    EnvironmentNameNotAllowed,
    EnvironmentValueNotAllowed,
    NameOfBoth,
    ArtifactUnknown,
    ArtifactOfAnotherKind,
)
_OPEN = (FunctionUnknown, FunctionIsArchived)

_CREATE = Operation(
    name="createFunction",
    permission="functions:write",
    summary="Create a function as a draft",
    tag="Functions",
    takes=FunctionRequest,
    answers={201: Function},
    example=_EXAMPLE,
    writes=True,
    within_projects=True,
    refusals=(
        *_AUTHORING,
        LimitReached,
    ),
)


@post("/functions", status_code=201, opt=_CREATE.as_opt())
async def create_function(request: Request[Any, Any, Any]) -> Answer:
    asked_for, content = await read(request, FunctionRequest)
    require_within(request, asked_for.project_id)
    writing = Writing(request, content)
    return await _create(writing, asked_for, record_refusals=True)


_SAVE = Operation(
    name="saveFunction",
    permission="functions:write",
    summary="Create a function, or replace the one of that id or name",
    tag="Functions",
    takes=SaveRequest,
    answers={200: Function, 201: Function},
    example=_EXAMPLE,
    writes=True,
    within_projects=True,
    if_match=True,
    refusals=(
        *_AUTHORING,
        *_OPEN,
        LimitReached,
    ),
)


@post("/functions/save", status_code=200, opt=_SAVE.as_opt())
async def save_function(request: Request[Any, Any, Any]) -> Answer:
    asked_for, content = await read(request, SaveRequest)
    require_within(request, asked_for.project_id)
    writing = Writing(request, content)
    function_id = asked_for.function_id or await _named(request, asked_for)
    if function_id is None:
        try:
            return await _create(writing, asked_for, record_refusals=False)
        except FunctionNameTaken as refusal:
            # Made since the read models were asked: the claim knows by whom.
            function_id = _holder(refusal)
    return await _update(writing, function_id, _replacing(asked_for), project_id=asked_for.project_id)


_UPDATE = Operation(
    name="updateFunction",
    permission="functions:write",
    summary="Change the named fields of a function",
    tag="Functions",
    takes=UpdateRequest,
    answers={200: Function},
    example={"functionId": str(FUNCTION_ID), "description": "Says hello to everybody"},
    writes=True,
    within_projects=True,
    if_match=True,
    refusals=(
        *_AUTHORING,
        *_OPEN,
    ),
)


@put("/functions/update", opt=_UPDATE.as_opt())
async def update_function(request: Request[Any, Any, Any]) -> Answer:
    asked_for, content = await read(request, UpdateRequest)
    await _require_function_within(request, asked_for.function_id)
    return await _update(Writing(request, content), asked_for.function_id, asked_for, project_id=None)


async def _require_function_within(request: Request[Any, Any, Any], function_id: UUID) -> None:
    """Raise FunctionUnknown for a key that is for other projects than the function's."""
    principal = principal_of(request)
    if principal.projects:
        function: State = await fold(
            services_of(request).log, FUNCTION, FUNCTION.stream(principal.tenant_id, function_id)
        )
        if not principal.is_for(function.project_id):
            raise FunctionUnknown


_PATCH = Operation(
    name="patchFunction",
    permission="functions:write",
    summary="Change the named fields of a function of the project",
    tag="Functions",
    takes=ChangesRequest,
    answers={200: Function},
    example={"description": "Says hello to everybody"},
    writes=True,
    if_match=True,
    refusals=(
        *_AUTHORING,
        *_OPEN,
    ),
)


@patch("/projects/{project_id:uuid}/functions/{function_id:uuid}", opt=_PATCH.as_opt())
async def patch_function(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], function_id: FromPath[UUID]
) -> Answer:
    asked_for, content = await read(request, ChangesRequest)
    return await _update(Writing(request, content), function_id, asked_for, project_id=project_id)


_GET = Operation(
    name="getFunction",
    permission="functions:read",
    summary="Get a function",
    tag="Functions",
    answers={200: Function},
    query=(AS_OF,),
    refusals=(FunctionUnknown,),
)


@get("/projects/{project_id:uuid}/functions/{function_id:uuid}", opt=_GET.as_opt())
async def get_function(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], function_id: FromPath[UUID]
) -> Answer:
    services = await reached_as_of(request)
    found = found_or(FunctionUnknown, await services.reader.one(FUNCTION_GET, tenant_of(request), function_id))
    if found.row.project_id != project_id:
        raise FunctionUnknown
    return entity(request, row_bytes(FUNCTION_GET, found), found.position)


_LIST = Operation(
    name="listFunctions",
    permission="functions:read",
    summary="List the functions of a project, newest first",
    tag="Functions",
    answers={200: Listed[Function]},
    query=(*PAGE_PARAMETERS, AS_OF),
    refusals=(ProjectUnknown,),
)


@get("/projects/{project_id:uuid}/functions", opt=_LIST.as_opt())
async def list_functions(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    services, tenant_id = await reached_as_of(request), tenant_of(request)
    wanted = await asked(request, services, (AS_OF,))
    found = await services.reader.page(FUNCTIONS_LIST, tenant_id, project_id, after=wanted.after, limit=wanted.limit)
    if not found.items:
        await require_project(services, tenant_id, project_id)
    return await page(services, FUNCTIONS_LIST, found)


_ARCHIVE = Operation(
    name="archiveFunction",
    permission="functions:write",
    summary="Put a function away for good; its name is free again",
    tag="Functions",
    takes=ArchiveFunctionRequest,
    answers={200: Function, 202: Function},
    example={"undeployFirst": True, "reason": "no longer needed"},
    writes=True,
    if_match=True,
    refusals=(
        FunctionUnknown,
        FunctionIsLive,
    ),
)


@post("/projects/{project_id:uuid}/functions/{function_id:uuid}/archive", status_code=200, opt=_ARCHIVE.as_opt())
async def archive_function(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], function_id: FromPath[UUID]
) -> Answer:
    """Answers 202 when undeploying comes first: the runner that undeploys the last of it archives it."""
    asked_for, content = await read(request, ArchiveFunctionRequest)
    writing = Writing(request, content)
    command = ArchiveFunction(
        **writing.asked,
        project_id=project_id,
        function_id=function_id,
        reason=asked_for.reason,
        undeploy_first=asked_for.undeploy_first,
    )
    stream = FUNCTION.stream(command.tenant_id, function_id)

    def answer(states: States) -> Reply:
        state = states.at(FUNCTION, stream)
        status = 200 if state.archived else 202
        # The function's own event stands before those of its deployments.
        changed = state.updated_at is None
        return Reply(
            status=status, body=_answer(function_id, command, states), position="first" if changed else "unchanged"
        )

    return await writing.do(command, answer, entity=stream)


_REVISIONS = Operation(
    name="listFunctionRevisions",
    permission="functions:read",
    summary="The function's record as it was saved each time, oldest first",
    tag="Functions",
    answers={200: Listed[Revision]},
    query=PAGE_PARAMETERS,
    refusals=(FunctionUnknown,),
)


@get("/projects/{project_id:uuid}/functions/{function_id:uuid}/revisions", opt=_REVISIONS.as_opt())
async def list_function_revisions(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], function_id: FromPath[UUID]
) -> Answer:
    services = await reached(request)
    wanted = await asked(request, services)
    (events,) = await services.log.load([FUNCTION.stream(tenant_of(request), function_id)])
    state = FUNCTION.initial
    revisions: list[tuple[int, Revision]] = []
    for stored in events:
        before, state = state, FUNCTION.evolve(state, CODEC.decode(stored))
        if state.revision > before.revision:
            revisions.append((stored.position, await _revision(services, stored, state)))
    if not state.exists or state.project_id != project_id:
        raise FunctionUnknown
    left = [(position, revision) for position, revision in revisions if position > (wanted.after or 0)]
    shown = left[: wanted.limit]
    cursor = await services.tokens.of(shown[-1][0]) if len(left) > len(shown) else None
    return listed([encoded(revision) for _, revision in shown], cursor)


async def _revision(services: Services, stored: StoredEvent, state: State) -> Revision:
    authored = state.authored
    assert authored is not None, "an author saved it"
    return Revision(
        position=await services.tokens.of(stored.position),
        revision=state.revision,
        at=stored.recorded_at,
        actor=decode_meta(stored.meta).actor,
        name=authored.name,
        description=authored.description,
        trigger=authored.trigger,
        runtime=authored.runtime,
        access=authored.access,
        provider=authored.provider,
        environment=authored.environment,
        artifact_files=authored.artifact_files,
    )


async def _create(writing: Writing, asked_for: FunctionRequest, *, record_refusals: bool) -> Answer:
    command = CreateFunction(
        **writing.asked, project_id=asked_for.project_id, function_id=writing.new_id(), authored=_authored(asked_for)
    )
    location = f"/api/v1/projects/{command.project_id}/functions/{command.function_id}"

    def answer(states: States) -> Reply:
        return Reply(status=201, location=location, body=_answer(command.function_id, command, states))

    try:
        return await writing.do(command, answer, record_refusals=record_refusals)
    except FunctionNameTaken:
        raise
    except Refusal:
        if record_refusals:
            raise
    # Refused for another reason than its name, so this is its answer: now it is recorded.
    return await writing.do(command, answer)


async def _update(writing: Writing, function_id: UUID, asked_for: ChangesRequest, *, project_id: UUID | None) -> Answer:
    command = UpdateFunction(
        **writing.asked, function_id=function_id, project_id=project_id, changes=_changes(asked_for, project_id)
    )
    stream = FUNCTION.stream(command.tenant_id, function_id)
    return await writing.do(command, lambda states: _updated(command, states), entity=stream)


async def _named(request: Request[Any, Any, Any], asked_for: SaveRequest) -> UUID | None:
    reader = services_of(request).reader
    found = await reader.one(FUNCTION_BY_NAME, tenant_of(request), asked_for.project_id, slug(asked_for.name))
    return found.row.function_id if found else None


def _holder(refusal: FunctionNameTaken) -> UUID:
    assert isinstance(refusal.__cause__, Taken)
    return refusal.__cause__.holder


def _authored(asked_for: FunctionRequest) -> Authored:
    return Authored(
        name=asked_for.name,
        description=asked_for.description,
        trigger=asked_for.trigger.trigger,
        runtime=DEFAULT_RUNTIME if asked_for.runtime is UNSET else asked_for.runtime,
        access=asked_for.access,
        provider=asked_for.provider,
        environment=asked_for.environment,
        artifact_files=artifact_ids(asked_for.artifact_files, asked_for.project_id),
    )


def _replacing(asked_for: FunctionRequest) -> ChangesRequest:
    """Every field named, those left out with their defaults."""
    named = {name: getattr(asked_for, name) for name in ChangesRequest.__struct_fields__}
    files = ArtifactFileChangesRequest(**msgspec.structs.asdict(asked_for.artifact_files))
    runtime = DEFAULT_RUNTIME if asked_for.runtime is UNSET else asked_for.runtime
    return ChangesRequest(**{**named, "artifact_files": files, "runtime": runtime})


def _changes(asked_for: ChangesRequest, project_id: UUID | None) -> Changes:
    named: dict[str, Any] = {}
    for name in ChangesRequest.__struct_fields__:
        value = getattr(asked_for, name)
        if value is UNSET:
            continue
        match value:
            case TriggerRequest() as trigger:
                named[name] = trigger.trigger
            case ArtifactFileChangesRequest() as files:
                named[name] = file_changes(files, project_id)
            case _:
                named[name] = value
    return Changes(**named)


def _updated(command: UpdateFunction, states: States) -> Reply:
    changed = states.of(FUNCTION, command.tenant_id, command.function_id).updated_at is None
    body = _answer(command.function_id, command, states)
    return Reply(body=body, position="last" if changed else "unchanged")


def _answer(function_id: UUID, command: CreateFunction | UpdateFunction | ArchiveFunction, states: States) -> Function:
    state = states.of(FUNCTION, command.tenant_id, function_id)
    authored, active = state.authored, state.active_newest
    assert authored is not None
    return Function(
        function_id=function_id,
        project_id=state.project_id,
        name=authored.name,
        slug=state.slug,
        description=authored.description,
        trigger=authored.trigger,
        runtime=authored.runtime,
        access=authored.access,
        provider=authored.provider,
        environment=authored.environment,
        artifact_files=authored.artifact_files,
        status=state.status,
        active_deployment_id=active.deployment_id if active else None,
        changed_since_deploy=state.changed_since_deploy,
        revision=state.revision,
        created_at=recorded_time(state.created_at),
        updated_at=recorded_time(state.updated_at),
    )


FUNCTION_ROUTES = (
    create_function,
    save_function,
    update_function,
    patch_function,
    get_function,
    list_functions,
    archive_function,
    list_function_revisions,
)
