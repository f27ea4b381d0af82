"""A project: owns functions, integrations and deployments."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

import msgspec

from domain.event import Aggregate, Event
from domain.refusal import Conflict, NotFound


class ProjectCreated(Event, frozen=True, kw_only=True, tag="project.created"):
    name: str
    # The project's segment in its functions' addresses; it stays when the project is renamed.
    slug: str


class ProjectRenamed(Event, frozen=True, kw_only=True, tag="project.renamed"):
    name: str


class ProjectArchived(Event, frozen=True, kw_only=True, tag="project.archived"):
    reason: str = ""


ProjectEvent = ProjectCreated | ProjectRenamed | ProjectArchived


class Project(msgspec.Struct, frozen=True, kw_only=True):
    exists: bool = False
    name: str = ""
    slug: str = ""
    archived: bool = False
    created_at: datetime | None = None
    updated_at: datetime | None = None


class ProjectUnknown(NotFound):
    """There is no such project."""

    code = "project_not_found"
    remedy = "GET /api/v1/projects lists those of the tenant."


class ProjectNameTaken(Conflict):
    """Another project of the tenant has this name."""

    code = "project_name_taken"
    remedy = "Choose another name, or use the project that has it. Upper and lower case make no difference."


class ProjectIsArchived(Conflict):
    """The project is archived; nothing in it can be changed."""

    code = "project_archived"
    remedy = "Create another project; the name of an archived one is free again."


class ProjectIsLive(Conflict):
    """Functions of the project are live."""

    code = "project_is_live"
    remedy = "Cancel what is under way and undeploy what is active, then archive the project."


def evolve(project: Project, event: ProjectEvent) -> Project:
    match event:
        case ProjectCreated():
            return Project(exists=True, name=event.name, slug=event.slug, created_at=event.at, updated_at=event.at)
        case ProjectRenamed():
            return msgspec.structs.replace(project, name=event.name, updated_at=event.at)
        case ProjectArchived():
            return msgspec.structs.replace(project, archived=True, updated_at=event.at)
        case _:
            assert_never(event)


PROJECT = Aggregate(
    name="project", events=(ProjectCreated, ProjectRenamed, ProjectArchived), initial=Project(), evolve=evolve
)


def require_open(project: Project) -> Project:
    """The project itself, if it exists and can be changed. Raises ProjectUnknown or ProjectIsArchived."""
    if not project.exists:
        raise ProjectUnknown
    if project.archived:
        raise ProjectIsArchived
    return project
