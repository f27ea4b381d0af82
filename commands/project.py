"""Commands about projects."""

from __future__ import annotations

from typing import assert_never
from uuid import UUID

from commands.command import Command, Decider, Reads, States, facts
from commands.limits import limits_of
from domain.event import Claim, Counter, Decision
from domain.naming import check_name, slug
from domain.project import PROJECT, ProjectCreated, ProjectRenamed, require_open
from domain.refusal import Conflict
from domain.tenant import TENANT


class ProjectExists(Conflict):
    """The project was created before."""

    code = "project_exists"


class CreateProject(Command, frozen=True, kw_only=True, tag="CreateProject"):
    project_id: UUID
    name: str


class RenameProject(Command, frozen=True, kw_only=True, tag="RenameProject"):
    project_id: UUID
    name: str


ProjectCommand = CreateProject | RenameProject


def reads(command: ProjectCommand) -> Reads:
    yield PROJECT, PROJECT.stream(command.tenant_id, command.project_id)
    yield TENANT, TENANT.stream(command.tenant_id, command.tenant_id)


def decide(command: ProjectCommand, states: States) -> Decision:
    match command:
        case CreateProject():
            return _create(command, states)
        case RenameProject():
            return _rename(command, states)
        case _:
            assert_never(command)


def _create(command: CreateProject, states: States) -> Decision:
    check_name(command.name)
    stream = PROJECT.stream(command.tenant_id, command.project_id)
    if states.at(PROJECT, stream).exists:
        raise ProjectExists
    segment = slug(command.name)
    return Decision(
        facts=facts(stream, ProjectCreated(name=command.name, slug=segment)),
        claims=(_claim(command, segment),),
        counters=(
            Counter(
                tenant_id=command.tenant_id,
                scope="projects",
                name="tenant",
                delta=1,
                limit=limits_of(command.tenant_id, states).projects,
            ),
        ),
    )


def _rename(command: RenameProject, states: States) -> Decision:
    check_name(command.name)
    stream = PROJECT.stream(command.tenant_id, command.project_id)
    project = require_open(states.at(PROJECT, stream))
    if project.name == command.name:
        return Decision()
    before, after = slug(project.name), slug(command.name)
    claims = [_claim(command, after)]
    # The slug the project began with stays its own: its functions answer under it.
    if before not in (after, project.slug):
        claims.append(_claim(command, before, release=True))
    return Decision(facts=facts(stream, ProjectRenamed(name=command.name)), claims=tuple(claims))


def _claim(command: ProjectCommand, key: str, *, release: bool = False) -> Claim:
    return Claim(tenant_id=command.tenant_id, scope="project", key=key, holder=command.project_id, release=release)


PROJECTS = Decider(commands=(CreateProject, RenameProject), reads=reads, decide=decide)
