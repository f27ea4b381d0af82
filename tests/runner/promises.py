"""What the answers of a town's API promised, held against the log once all is quiet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import msgspec

from commands.basis import CODEC
from domain.deployment import DeploymentQueued, UndeployRequested
from domain.refused import CommandRefused
from eventstore.codec import tag_of
from eventstore.log import StoredEvent
from eventstore.meta import decode_meta
from projections.as_of import as_of
from projections.catalogue import READ_MODELS
from projections.deployment_events import TIMELINE
from projections.deployment_lists import DEPLOYMENT
from projections.deployments import DEPLOYMENTS
from projections.memory_reader import MemoryReader
from projections.memory_views import MemoryViews
from projections.query import Found
from tests.runner.callers import Asked, Callers, Seen, position_of
from tests.runner.town import Town
from tests.support import a
from tests.support.limits import Violated

_QUEUED, _UNDEPLOY, _REFUSED = tag_of(DeploymentQueued), tag_of(UndeployRequested), tag_of(CommandRefused)
# Told as of the instant of the answer, beside what is recorded.
_OF_THE_INSTANT = ("queuePosition", "canRollback")
_EVENTS_MAX = 100_000


async def check_promises(callers: Callers, views: MemoryViews) -> None:
    """Raises Violated."""
    town = callers.town
    by_command: dict[str, dict[UUID | None, list[StoredEvent]]] = defaultdict(lambda: defaultdict(list))
    for stored in await town.log.read(0, limit=_EVENTS_MAX):
        meta = decode_meta(stored.meta)
        by_command[meta.reason if stored.type != _REFUSED else ""][meta.command_id].append(stored)
    for asked in callers.asked:
        await _check_asked(town, asked, by_command[asked.reason])
    plain = MemoryReader(town.log, CODEC)
    await plain.wait_for(0, seconds_max=0)
    for seen in callers.seen:
        await _check_seen(plain, seen)
    check_views(plain, views)


async def _check_asked(town: Town, asked: Asked, recorded: dict[UUID | None, list[StoredEvent]]) -> None:
    """Every answer was the first one, and what was accepted is in the log once, and whole where the answer says."""
    if asked.verb != "validate" and len({(answer.status, answer.body) for answer in asked.answers}) > 1:
        raise Violated(f"{asked.reason} was answered differently when it was repeated: {asked.answers}")
    if any(answer.status >= 500 for answer in asked.answers):
        raise Violated(f"{asked.reason} failed: {asked.answers}")
    if len(recorded) > 1:
        raise Violated(f"{asked.reason} was recorded {len(recorded)} times")
    events = next(iter(recorded.values()), [])
    accepted = asked.accepted
    if accepted is None or asked.verb == "validate":
        if events and asked.answers:
            raise Violated(f"{asked.reason} was not accepted, and is in the log: {asked.answers}")
        return
    if events and events[-1].position != position_of(accepted.headers[b"event-position"].decode()):
        raise Violated(f"{asked.reason} ends at {events[-1].position}, and was answered {accepted.headers}")
    told = msgspec.json.decode(accepted.body)
    deployment_id = UUID(told["deploymentId"])
    if asked.verb == "cancel":
        if (await town.deployment(deployment_id)).outcome != "canceled":
            raise Violated(f"{asked.reason} was accepted, and {deployment_id} was not canceled")
        return
    type = _UNDEPLOY if asked.verb == "undeploy" else _QUEUED
    made = [event.stream_id for event in events if event.type == type]
    if made != [deployment_id]:
        raise Violated(f"{asked.reason} was answered with {deployment_id}, and the log has {type} of {made}")


async def _check_seen(plain: MemoryReader, seen: Seen) -> None:
    if seen.answer.status >= 500 and seen.answer.status != 503:
        raise Violated(f"a look failed: {seen}")
    versions = plain.tables.versions(DEPLOYMENTS, (seen.tenant_id, seen.deployment_id))
    if seen.answer.status == 404:
        if versions[0][0] <= seen.at_least:
            raise Violated(f"{seen.deployment_id} was there at {versions[0][0]}, and not seen: {seen}")
    elif seen.answer.status == 200:
        await (_check_status if seen.what == "status" else _check_events)(plain, seen)


async def _check_status(plain: MemoryReader, seen: Seen) -> None:
    """It was so where its ETag says, and that is neither older than was asked for nor newer than the log was."""
    position = int(seen.answer.headers[b"etag"].strip(b'"'))
    versions = plain.tables.versions(DEPLOYMENTS, (seen.tenant_id, seen.deployment_id))
    oldest = max((since for since, _ in versions if since <= seen.at_least), default=0)
    if not oldest <= position <= seen.head:
        raise Violated(f"a status of {position} was told, where {oldest} to {seen.head} was asked for: {seen}")
    found = await plain.one(as_of(DEPLOYMENT), seen.tenant_id, position, a.PROJECT_ID, seen.deployment_id)
    if (
        found is None
        or found.position != position
        or _lasting(msgspec.json.encode(found.row)) != _lasting(seen.answer.body)
    ):
        raise Violated(f"this was never so at {position}: {seen}; this was: {found}")


async def _check_events(plain: MemoryReader, seen: Seen) -> None:
    """They are the first there were, none left out, up to no less than was asked for."""
    told = msgspec.json.decode(seen.answer.body)["items"]
    page = await plain.page(TIMELINE, seen.tenant_id, seen.deployment_id, after=None, limit=len(told) + 1)
    wanted = [event.position for event in page.items]
    positions = [position_of(event["position"]) for event in told]
    if positions != wanted[: len(positions)] or any(position > seen.head for position in positions):
        raise Violated(f"events {positions} were told, where there are {wanted}: {seen}")
    if len(wanted) > len(positions) and wanted[-1] <= seen.at_least:
        raise Violated(f"event {wanted[-1]} was not told, where {seen.at_least} was asked for: {seen}")


def check_views(plain: MemoryReader, views: MemoryViews) -> None:
    """What a worker kept, however often it was killed, is the plain fold. Raises Violated."""
    for model in READ_MODELS:
        if views.parked_events(model.kind):
            raise Violated(f"{model.name} has parked {views.parked_events(model.kind)}")
        kept, wanted = _told(views.tables.of(model).values()), _told(plain.table(model).values())
        if kept != wanted:
            raise Violated(f"{model.name} is not the fold of the log: {kept ^ wanted}")
        for key in plain.tables.keys(model):
            stood, should = (
                [(since, found and found.raw) for since, found in tables.versions(model, key)]
                for tables in (views.tables, plain.tables)
            )
            if stood != should:
                raise Violated(f"the history of {model.name} is not that of the log: {key}")


def _told(rows: Iterable[Found[Any]]) -> set[tuple[Any, ...]]:
    return {(row.tenant_id, row.id, row.first_position, row.position, row.raw) for row in rows}


def _lasting(body: bytes) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.json.decode(body)
    for name in _OF_THE_INSTANT:
        told.pop(name, None)
    return told
