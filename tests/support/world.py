"""A world that obeys decisions: states, claims and counts, kept as a log would keep them, and recounted on demand."""

from __future__ import annotations

from collections import Counter as Tally
from typing import Any
from uuid import UUID

import msgspec

from commands.command import Command
from domain.catalogue import AGGREGATES
from domain.clouds import account_key
from domain.deployment import DEPLOYMENT, IN_ACCOUNT, Deployment
from domain.event import Aggregate, Claim, Counter, Decision, Event, StreamRef
from domain.function import FUNCTION, Function
from domain.naming import slug
from domain.person import PERSON
from domain.project import PROJECT, Project
from domain.refusal import Refusal
from domain.tenant import TENANT, Tenant
from domain.webhook import Webhook
from eventstore.codec import Codec
from tests.support.scenario import decide

AGGREGATE_OF: dict[str, Aggregate[Any]] = {aggregate.name: aggregate for aggregate in AGGREGATES}
CODEC = Codec(AGGREGATES)
ClaimKey = tuple[UUID, str, str]
CounterKey = tuple[UUID, str, str]


class World:
    """Everything recorded so far, with the state of each stream kept event by event."""

    def __init__(self) -> None:
        self.events: dict[StreamRef, list[Event]] = {}
        self.states: dict[StreamRef, Any] = {}
        self.claims: dict[ClaimKey, UUID] = {}
        self.counts: dict[CounterKey, int] = {}

    def ask(self, command: Command) -> Refusal | Decision | None:
        """Decide and obey: the decision, the refusal, or None when a claim was taken or a count was full."""
        try:
            decision = decide(command, self.states)
        except Refusal as refusal:
            return refusal
        claims, counts = self._claimed(decision.claims), self._counted(decision.counters)
        if claims is None or counts is None:
            return None
        self.claims, self.counts = claims, counts
        for fact in decision.facts:
            self._record(fact.stream, fact.event)
        return decision

    def of(self, aggregate: Aggregate[Any]) -> dict[StreamRef, Any]:
        """The states of all streams of one kind."""
        return {stream: state for stream, state in self.states.items() if stream.category == aggregate.name}

    def _record(self, stream: StreamRef, event: Event) -> None:
        tag, version, data = CODEC.encode(event)
        stored = CODEC.decode_data(tag, version, data)
        assert stored == event
        aggregate = AGGREGATE_OF[stream.category]
        assert stream not in self.events or not aggregate.is_over(self.states[stream]), f"{tag} follows what is over"
        self.events.setdefault(stream, []).append(event)
        state = aggregate.evolve(self.states.get(stream, aggregate.initial), event)
        # What the log keeps of it as a snapshot is the same.
        assert msgspec.json.decode(msgspec.json.encode(state), type=type(aggregate.initial)) == state
        self.states[stream] = state

    def _claimed(self, claims: tuple[Claim, ...]) -> dict[ClaimKey, UUID] | None:
        held = dict(self.claims)
        for claim in claims:
            key = (claim.tenant_id, claim.scope, claim.key)
            holder = held.get(key)
            if claim.release:
                if holder == claim.holder:
                    del held[key]
            elif holder not in (None, claim.holder):
                return None
            else:
                held[key] = claim.holder
        return held

    def _counted(self, counters: tuple[Counter, ...]) -> dict[CounterKey, int] | None:
        counts = dict(self.counts)
        for counter in counters:
            key = (counter.tenant_id, counter.scope, counter.name)
            value = counts.get(key, 0) + counter.delta
            if counter.delta > 0 and counter.limit is not None and value > counter.limit:
                return None
            counts[key] = value
        return counts


def refolded(world: World) -> dict[StreamRef, Any]:
    """Every state, folded from its first event."""
    states: dict[StreamRef, Any] = {}
    for stream, events in world.events.items():
        aggregate = AGGREGATE_OF[stream.category]
        state = aggregate.initial
        for event in events:
            state = aggregate.evolve(state, event)
        states[stream] = state
    return states


def recounted(world: World) -> dict[CounterKey, int]:
    """Every count, taken from the states."""
    counts: Tally[CounterKey] = Tally()
    for stream, state in world.states.items():
        match state:
            case Project(archived=False):
                counts[stream.tenant_id, "projects", "tenant"] += 1
            case Function(archived=False):
                counts[stream.tenant_id, "functions", str(state.project_id)] += 1
            case Deployment(status="queued"):
                counts[stream.tenant_id, "deployments", "queued"] += 1
            case Deployment() if state.is_under_way:
                assert state.release is not None
                counts[stream.tenant_id, "deployments", "running"] += 1
                counts[stream.tenant_id, IN_ACCOUNT, account_key(state.release.target)] += 1
            case Webhook(exists=True) if state.status != "removed":
                counts[stream.tenant_id, "webhooks", str(state.project_id)] += 1
            case Tenant():
                counts[stream.tenant_id, "members", "tenant"] += len(state.members)
            case _:
                pass
    return {key: value for key, value in counts.items() if value}


def reclaimed(world: World) -> dict[ClaimKey, UUID]:
    """Every claim, taken from the states."""
    claims: dict[ClaimKey, UUID] = {}
    for stream, tenant in world.of(TENANT).items():
        claims[UUID(int=0), "tenant", tenant.slug] = stream.id
    for stream, person in world.of(PERSON).items():
        if person.identity and not person.erased:
            claims[UUID(int=0), "identity", person.identity] = stream.id
    for stream, project in world.of(PROJECT).items():
        for segment in () if project.archived else (project.slug, slug(project.name)):
            claims[stream.tenant_id, "project", segment] = stream.id
    for stream, function in world.of(FUNCTION).items():
        if not function.archived:
            for segment in (function.slug, slug(function.authored.name)):
                claims[stream.tenant_id, "function", f"{function.project_id}/{segment}"] = stream.id
    for stream, deployment in world.of(DEPLOYMENT).items():
        if deployment.is_under_way:
            claims[stream.tenant_id, "slot", f"{deployment.release.function_id}/local"] = stream.id
    return claims
