"""What the log says of one deployment, kept up by reading only what is new."""

from __future__ import annotations

from uuid import UUID

import msgspec

from commands.basis import CODEC
from domain.deployment import DEPLOYMENT, Deployment, DeploymentQueued, UndeployRequested
from eventstore.log import NO_STREAM, Log
from eventstore.meta import decode_meta
from providers.provider import Order
from runner.access import LOCAL, Access
from runner.world import Held


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """The deployment as of `version` of its stream; `correlation_id` is that of the request being worked on."""

    deployment: Deployment = Deployment()
    version: int = NO_STREAM
    position: int = 0
    correlation_id: UUID | None = None


async def look(log: Log, held: Held, before: Seen) -> Seen:
    """What is recorded by now."""
    stream = DEPLOYMENT.stream(held.tenant_id, held.deployment_id)
    [news] = await log.load([stream], after=before.version)
    if not news:
        return before
    deployment, correlation_id = before.deployment, before.correlation_id
    for stored in news:
        event = CODEC.decode(stored)
        deployment = DEPLOYMENT.evolve(deployment, event)
        if isinstance(event, DeploymentQueued | UndeployRequested):
            correlation_id = decode_meta(stored.meta).correlation_id
    return Seen(
        deployment=deployment, version=news[-1].version, position=news[-1].position, correlation_id=correlation_id
    )


def recorded_by_us(log: Log, held: Held, before: Seen) -> Seen | None:
    """As `look`, without asking: for the moment after a report of ours was recorded, which the log took as the stream's next
    event. None when that is not remembered."""
    known = log.folds.recent(DEPLOYMENT.stream(held.tenant_id, held.deployment_id))
    if known is None or known.version <= before.version:
        return None
    return msgspec.structs.replace(before, deployment=known.state, version=known.version, position=known.position)


def order_of(held: Held, deployment: Deployment, access: Access = LOCAL) -> Order | None:
    """The deployment as a provider sees it; None when it does not exist."""
    if deployment.release is None:
        return None
    return Order(
        tenant_id=held.tenant_id,
        project_id=deployment.project_id,
        deployment_id=held.deployment_id,
        number=deployment.number,
        release=deployment.release,
        identity=access.identity,
        storage=access.storage,
    )
