"""What the log itself says of limits: replayed position by position, whatever counters, claims or rows say."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from uuid import UUID

from commands.basis import CODEC
from domain.clouds import account_key, target_key
from domain.deployment import (
    IN_ACCOUNT,
    DeploymentCanceled,
    DeploymentClaimed,
    DeploymentFailed,
    DeploymentQueued,
    DeploymentSucceeded,
    DeploymentUndeployed,
    UndeployFailed,
    UndeployRequested,
)
from domain.event import Event
from domain.plan import Limits, PlanDefined, plan_stream
from domain.project import DeploymentsLocked, DeploymentsUnlocked
from domain.release import Release
from domain.tenant import PlanChosen, TenantCreated
from eventstore.codec import Codec
from eventstore.log import Log, StoredEvent
from eventstore.meta import decode_meta

PAGE_EVENTS = 5_000
OUTCOMES = (DeploymentSucceeded, DeploymentFailed, DeploymentCanceled)
ENDINGS = (*OUTCOMES, DeploymentUndeployed, UndeployFailed)


class Violated(AssertionError):
    """Something that must never happen did."""


class Replay:
    """Takes every event of the log in order. Raises Violated at the position at which a limit was exceeded."""

    def __init__(self) -> None:
        self.most: Counter[str] = Counter()
        self.outcomes: Counter[UUID] = Counter()
        self._plans: dict[UUID, Limits] = {}
        self._plan_of: dict[UUID, str] = {}
        self._releases: dict[UUID, tuple[UUID, Release]] = {}
        self._waits: dict[UUID, type[Event]] = {}
        self._project_of: dict[UUID, UUID] = {}
        self._locked_until: dict[tuple[UUID, UUID], datetime] = {}
        self._under_way: dict[UUID, tuple[str, ...]] = {}
        self._running: Counter[str] = Counter()
        self._counted: Counter[tuple[UUID, str, str]] = Counter()

    def take(self, stored: StoredEvent, event: Event) -> None:
        for counter in decode_meta(stored.meta).counters:
            name = (counter.tenant_id, counter.scope, counter.name)
            self._counted[name] += counter.delta
            value = self._counted[name]
            if value < 0 or (counter.delta > 0 and counter.limit is not None and value > counter.limit):
                raise Violated(f"{name} counts {value} of {counter.limit} at position {stored.position}")
        id = stored.stream_id
        match event:
            case PlanDefined():
                self._plans[id] = event.limits
            case TenantCreated() | PlanChosen():
                self._plan_of[id] = event.plan
            case DeploymentsLocked():
                self._locked_until[stored.tenant_id, id] = event.expires_at
            case DeploymentsUnlocked():
                del self._locked_until[stored.tenant_id, id]
            case DeploymentQueued():
                self._project_of[id] = event.project_id
                self._check_unlocked(stored)
                self._releases[id] = (stored.tenant_id, event.release)
                self._waits[id] = DeploymentQueued
            case UndeployRequested():
                self._waits[id] = UndeployRequested
            case DeploymentClaimed() if (waited := self._waits.pop(id, None)) is not None:
                if waited is DeploymentQueued:
                    self._check_unlocked(stored)
                self._begin(stored.position, id)
            case _ if isinstance(event, ENDINGS):
                self._end(id)
                self.outcomes[id] += isinstance(event, OUTCOMES)
            case _:
                pass

    def _check_unlocked(self, stored: StoredEvent) -> None:
        """A lock counts until it ends by itself; what was decided before that is recorded no earlier."""
        until = self._locked_until.get((stored.tenant_id, self._project_of[stored.stream_id]))
        if until is not None and stored.recorded_at < until:
            raise Violated(f"{stored.type} at position {stored.position} in a project locked until {until}")

    def _begin(self, position: int, id: UUID) -> None:
        tenant_id, release = self._releases[id]
        limits = self._plans[plan_stream(self._plan_of[tenant_id]).id]
        bounds = bounds_of(tenant_id, release, limits)
        for name, bound in bounds.items():
            self._running[name] += 1
            kind = name.split(" ")[0]
            self.most[kind] = max(self.most[kind], self._running[name])
            if self._running[name] > bound:
                raise Violated(f"{self._running[name]} of at most {bound} under way of {name} at position {position}")
        self._under_way[id] = tuple(bounds)

    def _end(self, id: UUID) -> None:
        self._waits.pop(id, None)
        for name in self._under_way.pop(id, ()):
            self._running[name] -= 1

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way, and nothing waits."""
        return not (self._under_way or self._waits)

    def check_end(self) -> None:
        """When all is quiet: every deployment has one outcome, and nothing is counted as under way or waiting."""
        several = {id: self.outcomes[id] for id in self._releases if self.outcomes[id] != 1}
        if several:
            raise Violated(f"these have not one outcome: {several}")
        if not self.is_quiet:
            raise Violated(f"still under way: {list(self._under_way)}; still waiting: {list(self._waits)}")
        left = {
            name: value for name, value in self._counted.items() if value and name[1] in ("deployments", IN_ACCOUNT)
        }
        if left:
            raise Violated(f"the counts of what is under way or waits end at {left}")


def bounds_of(tenant_id: UUID, release: Release, limits: Limits) -> dict[str, int]:
    """What bounds a deployment under way, each with how many it allows at a time."""
    return {
        f"tenant {tenant_id}": limits.concurrent_deployments,
        f"account {tenant_id} {account_key(release.target)}": limits.per_account,
        f"function {release.function_id} {target_key(release.target)}": 1,
    }


async def replay(log: Log, codec: Codec = CODEC) -> Replay:
    """The whole log. Raises Violated."""
    found, position = Replay(), 0
    while page := await log.read(position, limit=PAGE_EVENTS):
        for stored in page:
            found.take(stored, codec.decode(stored))
        position = page[-1].position
    return found
