"""Projects: create, rename, archive, get, list."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, get, patch, post
from litestar.params import FromPath

from api.answer import Answer, encoded, entity, unsettled
from api.as_of import AS_OF, reached_as_of
from api.body import read
from api.listing import PAGE_PARAMETERS, Asked, Listed, asked, page, row_bytes
from api.operation import Operation
from api.principal import Principal
from api.reading import found_or, principal_of, tenant_of
from api.services import Services, services_of
from api.writing import Reply, Writing, recorded_time
from commands.claimed import FunctionsChanged
from commands.command import States
from commands.project import ArchiveProject, CreateProject, RenameProject
from domain.naming import NAME_PATTERN, NameNotAllowed
from domain.project import PROJECT, ProjectIsArchived, ProjectIsLive, ProjectNameTaken, ProjectUnknown, lock_of
from domain.project import Project as State
from domain.refusal import LimitReached
from projections.functions import FUNCTIONS_LIST
from projections.projects import PROJECT as PROJECT_GET
from projections.projects import PROJECTS_LIST, DeployLock, Project
from projections.query import Page, page_of
from projections.reader import PAGE_ROWS_MAX, cut

# Names are checked by the domain; this only keeps what is read small.
Name = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=63, examples=["shop"], extra_json_schema={"pattern": NAME_PATTERN}),
]


class ProjectRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A project is known by its name: one of each in a tenant, whatever its case."""

    name: Name


_CREATE = Operation(
    name="createProject",
    permission="projects:write",
    summary="Create a project",
    tag="Projects",
    takes=ProjectRequest,
    answers={201: Project},
    example={"name": "shop"},
    writes=True,
    refusals=(
        NameNotAllowed,
        ProjectNameTaken,
        LimitReached,
    ),
)


@post("/projects", status_code=201, opt=_CREATE.as_opt())
async def create_project(request: Request[Any, Any, Any]) -> Answer:
    asked_for, content = await read(request, ProjectRequest)
    writing = Writing(request, content)
    project_id = writing.new_id()
    command = CreateProject(**writing.asked, project_id=project_id, name=asked_for.name)
    location = f"/api/v1/projects/{project_id}"
    return await writing.do(command, lambda states: Reply(status=201, location=location, body=_answer(command, states)))


_RENAME = Operation(
    name="renameProject",
    permission="projects:write",
    summary="Rename a project; its functions keep their addresses",
    tag="Projects",
    takes=ProjectRequest,
    answers={200: Project},
    example={"name": "store"},
    writes=True,
    if_match=True,
    refusals=(
        ProjectUnknown,
        NameNotAllowed,
        ProjectIsArchived,
        ProjectNameTaken,
    ),
)


@patch("/projects/{project_id:uuid}", opt=_RENAME.as_opt())
async def rename_project(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    asked_for, content = await read(request, ProjectRequest)
    writing = Writing(request, content)
    command = RenameProject(**writing.asked, project_id=project_id, name=asked_for.name)
    stream = PROJECT.stream(command.tenant_id, project_id)
    return await writing.do(command, lambda states: _changed(command, states), entity=stream)


class ArchiveProjectRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Why, for the audit trail."""

    reason: Annotated[str, msgspec.Meta(max_length=500, examples=["closed"])] = ""


_ARCHIVE = Operation(
    name="archiveProject",
    permission="projects:write",
    summary="Put a project away for good, once nothing in it is live; its name is free again",
    tag="Projects",
    takes=ArchiveProjectRequest,
    answers={200: Project},
    example={"reason": "closed"},
    writes=True,
    if_match=True,
    refusals=(
        ProjectUnknown,
        ProjectIsLive,
        FunctionsChanged,
    ),
)


@post("/projects/{project_id:uuid}/archive", status_code=200, opt=_ARCHIVE.as_opt())
async def archive_project(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    asked_for, content = await read(request, ArchiveProjectRequest)
    writing = Writing(request, content)
    command = ArchiveProject(
        **writing.asked,
        project_id=project_id,
        function_ids=await _open_functions(services_of(request), writing.principal.tenant_id, project_id),
        reason=asked_for.reason,
    )
    stream = PROJECT.stream(command.tenant_id, project_id)
    return await writing.do(command, lambda states: _changed(command, states), entity=stream)


async def _open_functions(services: Services, tenant_id: UUID, project_id: UUID) -> tuple[UUID, ...]:
    """All that are not archived, as of now: the decision refuses when there are more of them."""
    await services.reader.wait_for(await services.log.head(), (FUNCTIONS_LIST,), seconds_max=services.wait_seconds_max)
    found: list[UUID] = []
    after: int | None = None
    while True:
        page_of_them = await services.reader.page(
            FUNCTIONS_LIST, tenant_id, project_id, after=after, limit=PAGE_ROWS_MAX
        )
        found += [item.id for item in page_of_them.items if item.row.status != "archived"]
        after = page_of_them.next_after
        if after is None:
            return tuple(found)


_GET = Operation(
    name="getProject",
    permission="projects:read",
    summary="Get a project",
    tag="Projects",
    answers={200: Project},
    query=(AS_OF,),
    refusals=(ProjectUnknown,),
)


@get("/projects/{project_id:uuid}", opt=_GET.as_opt())
async def get_project(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    services = await reached_as_of(request)
    found = found_or(ProjectUnknown, await services.reader.one(PROJECT_GET, tenant_of(request), project_id))
    if found.row.deploy_lock is not None:
        return unsettled(encoded(settled(found.row, services.clock())), found.position)
    return entity(request, row_bytes(PROJECT_GET, found), found.position)


_LIST = Operation(
    name="listProjects",
    permission="projects:read",
    summary="List the tenant's projects, newest first",
    tag="Projects",
    answers={200: Listed[Project]},
    query=(*PAGE_PARAMETERS, AS_OF),
    within_projects=True,
)


@get("/projects", opt=_LIST.as_opt())
async def list_projects(request: Request[Any, Any, Any]) -> Answer:
    services = await reached_as_of(request)
    wanted = await asked(request, services, (AS_OF,))
    principal = principal_of(request)
    if principal.projects:
        found = await _own_page(services, principal, wanted)
    else:
        found = await services.reader.page(PROJECTS_LIST, principal.tenant_id, after=wanted.after, limit=wanted.limit)
    now = services.clock()
    return await page(services, PROJECTS_LIST, found, settle=lambda project: settled(project, now))


async def _own_page(services: Services, principal: Principal, wanted: Asked) -> Page[Project]:
    """Of the few that a key is for, in the list's own order."""
    each = [await services.reader.one(PROJECT_GET, principal.tenant_id, id) for id in principal.projects]
    after = PROJECTS_LIST.beginning if wanted.after is None else wanted.after
    return cut(page_of((one for one in each if one), "newest_first", after, wanted.limit + 1), wanted.limit)


def settled(project: Project, at: datetime) -> Project:
    """As it is at an instant: a deploy lock ends by itself, and the row stays as it was recorded."""
    lock = project.deploy_lock
    if lock is None or lock.expires_at > at:
        return project
    return msgspec.structs.replace(project, deploy_lock=None)


def lock_answer(project: State, at: datetime) -> DeployLock | None:
    """The lock that counts at an instant, as it is shown."""
    lock = lock_of(project, at)
    if lock is None:
        return None
    return DeployLock(
        reason=lock.reason,
        locked_by=lock.locked_by,
        locked_at=recorded_time(lock.locked_at),
        expires_at=lock.expires_at,
    )


def _changed(command: RenameProject | ArchiveProject, states: States) -> Reply:
    changed = states.of(PROJECT, command.tenant_id, command.project_id).updated_at is None
    return Reply(body=_answer(command, states), position="last" if changed else "unchanged")


def _answer(command: CreateProject | RenameProject | ArchiveProject, states: States) -> Project:
    state = states.of(PROJECT, command.tenant_id, command.project_id)
    return Project(
        project_id=command.project_id,
        name=state.name,
        slug=state.slug,
        status="archived" if state.archived else "active",
        deploy_lock=lock_answer(state, command.at),
        created_at=recorded_time(state.created_at),
        updated_at=recorded_time(state.updated_at),
    )


PROJECT_ROUTES = (create_project, rename_project, archive_project, get_project, list_projects)
