"""Functions: create, save, update, get, list."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, get, patch, post, put
from litestar.params import FromPath
from msgspec import UNSET, UnsetType

from api.answer import Answer, entity
from api.artifact_files import ArtifactFilesRequest, artifact_ids
from api.as_of import AS_OF, reached_as_of
from api.body import read
from api.listing import PAGE_PARAMETERS, Listed, asked, page, row_bytes
from api.operation import Operation
from api.reading import found_or, require_project, tenant_of
from api.services import services_of
from api.writing import Reply, Writing, recorded_time
from commands.claimed import Taken
from commands.command import States
from commands.function import Changes, CreateFunction, UpdateFunction
from domain.clouds import ProviderName
from domain.function import FUNCTION, Authored, FunctionNameTaken, FunctionUnknown
from domain.naming import slug
from domain.refusal import Refusal
from domain.release import Access, Trigger
from projections.functions import FUNCTION_BY_NAME, FUNCTION_GET, FUNCTIONS_LIST, Function

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=63, examples=["hello"])]
Description = Annotated[str, msgspec.Meta(max_length=2000, examples=["Says hello"])]
RuntimeVersion = Annotated[str, msgspec.Meta(min_length=1, max_length=64, examples=["3.11.0"])]
# How many variables there may be and how long is decided with the command; this only names the type.
Environment = Annotated[dict[str, str], msgspec.Meta(examples=[{"GREETING": "Hello"}])]


class TriggerRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A type of GET /functions/trigger-types, and the settings its schema asks for."""

    type: Annotated[str, msgspec.Meta(min_length=1, max_length=64, examples=["http"])] = "http"
    settings: dict[str, object] = msgspec.field(default_factory=dict)

    @property
    def trigger(self) -> Trigger:
        return Trigger(type=self.type, settings=self.settings)


class FunctionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """All that an author decides about a function; what is left out gets its default."""

    project_id: UUID
    name: Name
    description: Description = ""
    trigger: TriggerRequest = TriggerRequest()
    runtime: RuntimeVersion
    access: Access = "private"
    provider: ProviderName | None = None
    environment: Environment = msgspec.field(default_factory=dict)
    artifact_files: ArtifactFilesRequest = ArtifactFilesRequest()


class SaveRequest(FunctionRequest, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """Without `functionId` the project's function of that name is meant, and made if there is none."""

    function_id: UUID | None = None


class ChangesRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """What is left out stays as it is; `trigger`, `environment` and `artifactFiles` are replaced whole."""

    name: Name | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    trigger: TriggerRequest | UnsetType = UNSET
    runtime: RuntimeVersion | UnsetType = UNSET
    access: Access | UnsetType = UNSET
    provider: ProviderName | UnsetType | None = UNSET
    environment: Environment | UnsetType = UNSET
    artifact_files: ArtifactFilesRequest | UnsetType = UNSET


class UpdateRequest(ChangesRequest, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """Changes to the function of that id, in whichever of the tenant's projects it is."""

    function_id: UUID


_EXAMPLE = {
    "projectId": "0192d3a4-5b6c-7d8e-9f00-112233445566",
    "name": "hello",
    "description": "Says hello",
    "trigger": {"type": "http", "settings": {}},
    "runtime": "3.11.0",
    "access": "public",
}

_CREATE = Operation(
    name="createFunction",
    permission="functions:write",
    summary="Create a function as a draft",
    tag="Functions",
    takes=FunctionRequest,
    answers={201: Function},
    example=_EXAMPLE,
    writes=True,
    refusals=(404, 409, 422),
)


@post("/functions", status_code=201, opt=_CREATE.as_opt())
async def create_function(request: Request[Any, Any, Any]) -> Answer:
    asked_for, content = await read(request, FunctionRequest)
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
    refusals=(404, 409, 412, 422),
)


@post("/functions/save", status_code=200, opt=_SAVE.as_opt())
async def save_function(request: Request[Any, Any, Any]) -> Answer:
    asked_for, content = await read(request, SaveRequest)
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
    example={"functionId": "0192d3a4-5b6c-7d8e-9f00-112233445577", "description": "Says hello to everybody"},
    writes=True,
    refusals=(404, 409, 412, 422),
)


@put("/functions/update", opt=_UPDATE.as_opt())
async def update_function(request: Request[Any, Any, Any]) -> Answer:
    asked_for, content = await read(request, UpdateRequest)
    return await _update(Writing(request, content), asked_for.function_id, asked_for, project_id=None)


_PATCH = Operation(
    name="patchFunction",
    permission="functions:write",
    summary="Change the named fields of a function of the project",
    tag="Functions",
    takes=ChangesRequest,
    answers={200: Function},
    example={"description": "Says hello to everybody"},
    writes=True,
    refusals=(404, 409, 412, 422),
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
    refusals=(404,),
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
    refusals=(404,),
)


@get("/projects/{project_id:uuid}/functions", opt=_LIST.as_opt())
async def list_functions(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    services, tenant_id = await reached_as_of(request), tenant_of(request)
    wanted = await asked(request, services, (AS_OF,))
    found = await services.reader.page(FUNCTIONS_LIST, tenant_id, project_id, after=wanted.after, limit=wanted.limit)
    if not found.items:
        await require_project(services, tenant_id, project_id)
    return await page(services, FUNCTIONS_LIST, found)


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
        runtime=asked_for.runtime,
        access=asked_for.access,
        provider=asked_for.provider,
        environment=asked_for.environment,
        artifact_files=artifact_ids(asked_for.artifact_files, asked_for.project_id),
    )


def _replacing(asked_for: FunctionRequest) -> ChangesRequest:
    """Every field named, those left out with their defaults."""
    return ChangesRequest(**{name: getattr(asked_for, name) for name in ChangesRequest.__struct_fields__})


def _changes(asked_for: ChangesRequest, project_id: UUID | None) -> Changes:
    named: dict[str, Any] = {}
    for name in ChangesRequest.__struct_fields__:
        match getattr(asked_for, name):
            case UnsetType():
                pass
            case TriggerRequest() as trigger:
                named[name] = trigger.trigger
            case ArtifactFilesRequest() as files:
                named[name] = artifact_ids(files, project_id)
            case value:
                named[name] = value
    return Changes(**named)


def _updated(command: UpdateFunction, states: States) -> Reply:
    changed = states.of(FUNCTION, command.tenant_id, command.function_id).updated_at is None
    body = _answer(command.function_id, command, states)
    return Reply(body=body, position="last" if changed else "unchanged")


def _answer(function_id: UUID, command: CreateFunction | UpdateFunction, states: States) -> Function:
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


FUNCTION_ROUTES = (create_function, save_function, update_function, patch_function, get_function, list_functions)
