"""The tree from a request to all it set in motion."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, get
from litestar.params import FromPath

from api.answer import Answer, encoded
from api.audited import AUDITED_TENANT, audited_projects, audited_tenant
from api.listing import arguments
from api.operation import Operation
from api.reading import reached
from api.services import Services
from audit.causes import Caused, CorrelationUnknown, causes
from eventstore.meta import Actor


class CausedEvent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An event that a command recorded."""

    position: str
    at: datetime
    type: str
    entity_id: UUID


class CausedCommand(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A command and what it recorded. `causedBy` is the position of the event that led to it; null: the request did.
    `depth` counts the commands between it and the request."""

    command_id: UUID | None
    command: str
    actor: Actor
    reason: str
    caused_by: str | None
    depth: int
    events: tuple[CausedEvent, ...]


class Causes(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The tree in the order it is read: each command stands before those it led to. `complete` is false when there is
    more than is shown."""

    correlation_id: UUID
    commands: tuple[CausedCommand, ...]
    complete: bool


_CAUSES = Operation(
    name="getCauses",
    permission="audit:read",
    summary="Everything a request set in motion: its commands, their events, and the commands these led to",
    tag="Audit",
    answers={200: Causes},
    query=(AUDITED_TENANT,),
    refusals=(CorrelationUnknown,),
    within_projects=True,
)


@get("/audit/causes/{correlation_id:uuid}", opt=_CAUSES.as_opt())
async def get_causes(request: Request[Any, Any, Any], correlation_id: FromPath[UUID]) -> Answer:
    services = await reached(request)
    tenant_id = audited_tenant(request, arguments(request, _CAUSES.query).get(AUDITED_TENANT.name))
    found = await causes(services.reader, tenant_id, correlation_id, projects=audited_projects(request))
    commands = [await _command(services, caused) for caused in found.commands]
    return Answer(encoded(Causes(correlation_id=correlation_id, commands=tuple(commands), complete=found.complete)))


async def _command(services: Services, caused: Caused) -> CausedCommand:
    events = [
        CausedEvent(
            position=await services.tokens.of(found.position),
            at=found.row.at,
            type=found.row.type,
            entity_id=found.row.entity_id,
        )
        for found in caused.events
    ]
    return CausedCommand(
        command_id=caused.command_id,
        command=caused.command,
        actor=caused.actor,
        reason=caused.reason,
        caused_by=None if caused.caused_by is None else await services.tokens.of(caused.caused_by),
        depth=caused.depth,
        events=tuple(events),
    )


CAUSES_ROUTES = (get_causes,)
