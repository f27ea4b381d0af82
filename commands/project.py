"""Commands about projects."""

from __future__ import annotations

from typing import assert_never
from uuid import UUID

import msgspec

from commands.command import Command, Decider, Reads, States, facts
from commands.limits import limits_of
from domain.event import Claim, Counter, Decision
from domain.function import FUNCTION
from domain.naming import check_name, slug
from domain.project import PROJECT, ProjectArchived, ProjectCreated, ProjectIsLive, ProjectRenamed, require_open
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


class ArchiveProject(Command, frozen=True, kw_only=True, tag="ArchiveProject"):
    """`function_ids` names all of the project's functions that are not archived; the count of them must agree."""

    project_id: UUID
    function_ids: tuple[UUID, ...] = ()
    reason: str = ""


ProjectCommand = CreateProject | RenameProject | ArchiveProject

# More functions than any project has.
_COUNTED_MAX = 10**9


def reads(command: ProjectCommand) -> Reads:
    yield PROJECT, PROJECT.stream(command.tenant_id, command.project_id)
    yield TENANT, TENANT.stream(command.tenant_id, command.tenant_id)
    if isinstance(command, ArchiveProject):
        yield from ((FUNCTION, FUNCTION.stream(command.tenant_id, id)) for id in command.function_ids)


def decide(command: ProjectCommand, states: States) -> Decision:
    match command:
        case CreateProject():
            return _create(command, states)
        case RenameProject():
            return _rename(command, states)
        case ArchiveProject():
            return _archive(command, states)
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


def _archive(command: ArchiveProject, states: States) -> Decision:
    stream = PROJECT.stream(command.tenant_id, command.project_id)
    project = states.at(PROJECT, stream)
    if project.archived:
        return Decision()
    require_open(project)
    functions = [states.of(FUNCTION, command.tenant_id, id) for id in set(command.function_ids)]
    open_ones = [f for f in functions if f.exists and f.project_id == command.project_id and not f.archived]
    live = sorted(f.authored.name for f in open_ones if f.authored and (f.active or f.pending))
    if live:
        raise ProjectIsLive(f"Functions of the project are live: {', '.join(live)}.")
    segments = {project.slug, slug(project.name)}
    return Decision(
        facts=facts(stream, ProjectArchived(reason=command.reason)),
        claims=tuple(_claim(command, segment, release=True) for segment in sorted(segments)),
        counters=(
            *_no_more_functions_than(len(open_ones), command),
            Counter(tenant_id=command.tenant_id, scope="projects", name="tenant", delta=-1),
        ),
    )


def _no_more_functions_than(count: int, command: ArchiveProject) -> tuple[Counter, Counter]:
    """Up to the limit and back: passes only while the project's count is what was looked at."""
    there = Counter(
        tenant_id=command.tenant_id,
        scope="functions",
        name=str(command.project_id),
        delta=_COUNTED_MAX - count,
        limit=_COUNTED_MAX,
    )
    return there, msgspec.structs.replace(there, delta=-there.delta, limit=None)


def _claim(command: ProjectCommand, key: str, *, release: bool = False) -> Claim:
    return Claim(tenant_id=command.tenant_id, scope="project", key=key, holder=command.project_id, release=release)


PROJECTS = Decider(commands=(CreateProject, RenameProject, ArchiveProject), reads=reads, decide=decide)
