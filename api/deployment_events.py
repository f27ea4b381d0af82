"""What happens to deployments: by page, or followed as it happens."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Request, get
from litestar.params import FromPath

from api.answer import Answer, encoded
from api.event_stream import streams_of, wants_stream
from api.exchange import exchange_of
from api.listing import PAGE_PARAMETERS, Listed, asked, listed
from api.operation import Operation
from api.permit import Permit
from api.reading import found_or, reached, require_project, tenant_of
from api.services import Services
from audit.following import Followed, following
from domain.deployment import DeploymentUnknown
from domain.project import ProjectUnknown
from projections.deployment_events import TIMELINE, TIMELINE_OF_PROJECT, ProjectTimelineEvent, TimelineEvent
from projections.deployment_lists import DEPLOYMENT
from projections.query import Found, Query


class Event(TimelineEvent, frozen=True, kw_only=True, rename="camel"):
    """One entry of a deployment's timeline. `position` is its place in the log, and a cursor."""

    position: str


class ProjectEvent(ProjectTimelineEvent, frozen=True, kw_only=True, rename="camel"):
    """One entry of the timeline of a project's deployments. `position` is its place in the log, and a cursor."""

    position: str


_EVENTS = Operation(
    name="listDeploymentEvents",
    permission="deployments:read",
    summary="What happened to a deployment, oldest first; followed with Accept: text/event-stream",
    tag="Deployments",
    answers={200: Listed[Event]},
    query=PAGE_PARAMETERS,
    refusals=(DeploymentUnknown,),
    streams=True,
)


@get("/projects/{project_id:uuid}/deployments/{deployment_id:uuid}/events", opt=_EVENTS.as_opt())
async def list_deployment_events(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], deployment_id: FromPath[UUID]
) -> Answer:
    services, tenant_id = await reached(request), tenant_of(request)
    found_or(DeploymentUnknown, await services.reader.one(DEPLOYMENT, tenant_id, project_id, deployment_id))
    return await _told(request, services, TIMELINE, deployment_id)


_OF_PROJECT = Operation(
    name="listProjectEvents",
    permission="deployments:read",
    summary="What happened to the project's deployments, oldest first; followed with Accept: text/event-stream",
    tag="Deployments",
    answers={200: Listed[ProjectEvent]},
    query=PAGE_PARAMETERS,
    refusals=(ProjectUnknown,),
    streams=True,
)


@get("/projects/{project_id:uuid}/events", opt=_OF_PROJECT.as_opt())
async def list_project_events(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    services = await reached(request)
    await require_project(services, tenant_of(request), project_id)
    return await _told(request, services, TIMELINE_OF_PROJECT, project_id)


async def _told(request: Request[Any, Any, Any], services: Services, query: Query[Any], of: UUID) -> Answer:
    tenant_id = tenant_of(request)
    wanted = await asked(request, services)
    if wants_stream(request):
        start = await _start(request, services, wanted.after)
        followed = following(services.log, services.reader, query, tenant_id, (of,), after=start)
        return streams_of(request).open(followed, lambda item: _message(services, item), permit=Permit(request))
    found = await services.reader.page(query, tenant_id, of, after=wanted.after, limit=wanted.limit)
    cursor = None if found.next_after is None else await services.tokens.of(found.next_after)
    return listed([await _entry(services, item) for item in found.items], cursor)


async def _start(request: Request[Any, Any, Any], services: Services, after: int | None) -> int:
    """Where a stream begins: after the last event its caller saw, else at the cursor, else at the first event."""
    last_seen = exchange_of(request.scope).header(b"last-event-id")
    return await services.tokens.read(last_seen, "Last-Event-ID") if last_seen else after or 0


async def _message(services: Services, followed: Followed[TimelineEvent]) -> bytes:
    token = await services.tokens.of(followed.position)
    if followed.event is None:
        # Without data it is no event; the caller's place moves on all the same.
        return f": nothing new\nid: {token}\n\n".encode()
    head = f"id: {token}\nevent: {followed.event.row.type}\ndata: ".encode()
    return head + await _entry(services, followed.event) + b"\n\n"


async def _entry(services: Services, found: Found[TimelineEvent]) -> bytes:
    """The entry with its position in front: a column of the row, and not part of it."""
    position = encoded(await services.tokens.of(found.position))
    return b'{"position":' + position + b"," + encoded(found.row)[1:]


DEPLOYMENT_EVENT_ROUTES = (list_deployment_events, list_project_events)
