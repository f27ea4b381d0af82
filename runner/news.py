"""What happens in the log that a runner should look up for."""

from __future__ import annotations

from uuid import UUID

import msgspec

from domain.deployment import (
    CancelRequested,
    DeploymentCanceled,
    DeploymentFailed,
    DeploymentQueued,
    DeploymentSucceeded,
    DeploymentUndeployed,
    UndeployFailed,
    UndeployRequested,
)
from domain.project import DeploymentsLocked, DeploymentsUnlocked
from eventstore.codec import tag_of
from eventstore.log import Log
from runner.work_list import WorkList

EVENTS_MAX = 1_000
# How long the work list may take to see what the log told.
CATCH_UP_SECONDS_MAX = 2.0

_CANCELED = tag_of(CancelRequested)
_ASKED = frozenset(tag_of(event) for event in (DeploymentQueued, UndeployRequested))
_ENDED = frozenset(
    tag_of(event)
    for event in (DeploymentSucceeded, DeploymentFailed, DeploymentCanceled, DeploymentUndeployed, UndeployFailed)
)
_LOCKS = frozenset(tag_of(event) for event in (DeploymentsLocked, DeploymentsUnlocked))


class Heard(msgspec.Struct, frozen=True):
    """Deployments asked for or to be canceled, tenants of which something has ended, projects locked or unlocked."""

    asked: frozenset[UUID] = frozenset()
    canceled: frozenset[UUID] = frozenset()
    tenants_with_room: frozenset[UUID] = frozenset()
    projects: frozenset[UUID] = frozenset()


class News:
    """Follows the log from its end on. What happened before is found by looking at the work list."""

    def __init__(self, log: Log, work: WorkList) -> None:
        self._log = log
        self._work = work
        self._position: int | None = None

    async def next(self, *, seconds_max: float) -> Heard:
        """What is new, once the work list shows it too; nothing, when nothing happened for so long."""
        if self._position is None:
            self._position = await self._log.head()
        if not await self._log.wait_beyond(self._position, seconds_max=seconds_max):
            return Heard()
        events = await self._log.read(self._position, limit=EVENTS_MAX)
        heard = Heard(
            asked=frozenset(event.stream_id for event in events if event.type in _ASKED),
            canceled=frozenset(event.stream_id for event in events if event.type == _CANCELED),
            tenants_with_room=frozenset(event.tenant_id for event in events if event.type in _ENDED),
            projects=frozenset(event.stream_id for event in events if event.type in _LOCKS),
        )
        if events:
            self._position = events[-1].position
        if heard.asked or heard.tenants_with_room:
            await self._work.caught_up(self._position, seconds_max=CATCH_UP_SECONDS_MAX)
        return heard
