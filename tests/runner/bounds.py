"""How long each deployment of a town may take, by its own limits: step by step while it is under way, and no longer than
something is under way or locked while it waits."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from commands.basis import CODEC
from domain.deployment import DEPLOYMENT, Deployment
from domain.project import DeploymentsLocked, DeploymentsUnlocked
from eventstore.codec import tag_of
from eventstore.log import Log
from runner.plan import TAKEOVER_SECONDS_MIN, TAKEOVERS_MAX, seconds_max, step_name
from tests.support import virtual_time
from tests.support.limits import Violated

# A runner is missed for six seconds, looks at the cloud for four, twice, and tries again after 37 at most.
GRACE_SECONDS = 75.0
# What waits for a lock is looked at every 30 seconds, everything else sooner.
IDLE_SECONDS_MAX = 40.0
PAGE_EVENTS = 1_000
_TAGS = frozenset(tag_of(event) for event in DEPLOYMENT.events)


class Bounds:
    """Follows the log of a town; in the storm, until `calm_from`, runners die faster than they can do anything."""

    def __init__(self, log: Log, *, calm_from: float) -> None:
        self._log = log
        self._calm_from = calm_from
        self._position = 0
        self._now = 0.0
        self._states: dict[UUID, Deployment] = {}
        self._tenant_of: dict[UUID, UUID] = {}
        self._idle: dict[UUID, float] = {}
        self._locked_until: dict[UUID, float] = {}

    async def check(self) -> None:
        """All that was recorded since, and where everything stands now. Raises Violated."""
        while page := await self._log.read(self._position, limit=PAGE_EVENTS):
            for stored in page:
                self._pass_to(_seconds(stored.recorded_at - virtual_time.BEGINNING))
                match CODEC.decode(stored) if stored.type in _TAGS | _LOCKS else None:
                    case DeploymentsLocked(expires_at=until):
                        self._locked_until[stored.tenant_id] = _seconds(until - virtual_time.BEGINNING)
                    case DeploymentsUnlocked():
                        self._locked_until.pop(stored.tenant_id, None)
                    case None:
                        pass
                    case event:
                        self._tenant_of[stored.stream_id] = stored.tenant_id
                        before = self._states.get(stored.stream_id, DEPLOYMENT.initial)
                        self._become(stored.stream_id, before, DEPLOYMENT.evolve(before, event))
            self._position = page[-1].position
        self._pass_to(virtual_time.seconds())

    def _become(self, id: UUID, before: Deployment, after: Deployment) -> None:
        self._states[id] = after
        if after.is_under_way or not after.is_claimable:
            self._idle.pop(id, None)
        elif before.status != after.status or not before.exists:
            self._idle[id] = 0.0

    def _pass_to(self, now: float) -> None:
        """Time passes, and everything stays as it is."""
        under_way = [(id, state) for id, state in self._states.items() if state.is_under_way]
        for id, state in under_way:
            beyond = now - max(_deadline(state), self._calm_from)
            if beyond > GRACE_SECONDS:
                raise Violated(f"{id} is {beyond:.0f} s beyond the limit of its step {step_name(state)}")
        for id in self._idle if not under_way else ():
            since = max(self._now, self._calm_from)
            if self._states[id].status == "queued":
                since = max(since, self._locked_until.get(self._tenant_of[id], 0.0))
            self._idle[id] += max(0.0, now - since)
            if self._idle[id] > IDLE_SECONDS_MAX:
                raise Violated(f"{id} has waited {self._idle[id]:.0f} s for nothing")
        self._now = now


_LOCKS = frozenset((tag_of(DeploymentsLocked), tag_of(DeploymentsUnlocked)))


def _deadline(state: Deployment) -> float:
    """Until when the step under way may take, in seconds; whoever has just taken it over has a time of their own."""
    allowed, since = seconds_max(state), state.step_since
    end = 0.0 if since is None else _seconds(since - virtual_time.BEGINNING) + allowed
    if state.claimed_at is not None and 0 < state.claims_in_step <= TAKEOVERS_MAX:
        end = max(end, _seconds(state.claimed_at - virtual_time.BEGINNING) + min(TAKEOVER_SECONDS_MIN, allowed))
    return end


def _seconds(span: timedelta) -> float:
    return span.total_seconds()
