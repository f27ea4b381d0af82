"""A deployment replayed step by step: its past states, folded by the `eventsourcing` library over our own bridge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID

import msgspec
from eventsourcing.application import Application
from eventsourcing.persistence import PersistenceError

from audit.decisions import Judgement, Plan, Recorded, judge, seen_version
from domain.deployment import DEPLOYMENT, Deployment, DeploymentEvent, DeploymentQueued, DeploymentUnknown
from eventstore.bridge.recorded import ServiceEvent
from eventstore.codec import tag_of
from eventstore.log import NO_STREAM, StoredEvent
from runner.plan import next_step

_MODULE = {
    "PERSISTENCE_MODULE": "eventstore.bridge",
    "MAPPER_TOPIC": "eventstore.bridge:EventMapper",
    # What is looked at is not changed, not even its schema.
    "CREATE_TABLE": "no",
}


_QUEUED = tag_of(DeploymentQueued)


class Replay(msgspec.Struct, frozen=True):
    """What was decided event by event, and the state it ended in."""

    deployment_id: UUID
    judgements: list[Judgement]
    state: Deployment

    @property
    def agrees(self) -> bool:
        """Whether the present plan would have decided every step as it was."""
        return all(judgement.agrees for judgement in self.judgements)


class LogUnreachable(Exception):
    """The bridge could not reach the log. The message says why."""


def replay(environment: Mapping[str, str], deployment_id: UUID, decide: Plan = next_step) -> Replay:
    """Replay one deployment, of any tenant, or of DCF_TENANT alone. Blocks: call it where no event loop runs.

    `environment` is the service's own. Raises DeploymentUnknown and LogUnreachable.
    """
    with _opened(environment) as application:
        return _replayed(application, deployment_id, decide)


def replay_all(environment: Mapping[str, str], decide: Plan = next_step) -> Iterator[Replay]:
    """Replay every deployment up to the log's present end, in the order they were queued. Blocks, as `replay` does."""
    with _opened(environment) as application:
        end = application.recorder.max_notification_id()
        if end is None:
            return
        # The end is among what is followed, so this ends.
        with application.recorder.subscribe(gt=0) as subscription:
            for notification in subscription:
                if notification.topic == _QUEUED:
                    yield _replayed(application, UUID(str(notification.originator_id)), decide)
                if notification.id >= end:
                    return


@contextmanager
def _opened(environment: Mapping[str, str]) -> Iterator[Application[UUID]]:
    try:
        with Application[UUID]({**environment, **_MODULE}) as application:
            yield application
    except PersistenceError as error:
        raise LogUnreachable(str(error)) from error


def _replayed(application: Application[UUID], deployment_id: UUID, decide: Plan) -> Replay:
    recorded = list(_recorded(application, deployment_id))
    if not recorded:
        raise DeploymentUnknown(f"There is no deployment {deployment_id}.")
    last = _state(application, deployment_id, recorded[-1].version)
    return Replay(deployment_id, judge(recorded, decide), last)


def _recorded(application: Application[UUID], deployment_id: UUID) -> Iterable[Recorded]:
    earlier: list[StoredEvent] = []
    for stored in application.recorder.select_events(deployment_id):
        fact = application.mapper.to_domain_event(stored)
        if not (isinstance(stored, ServiceEvent) and isinstance(fact, DEPLOYMENT.events)):
            return  # The id is that of something else.
        event = cast(DeploymentEvent, fact)
        found = stored.recorded
        seen = seen_version(found, earlier)
        before = DEPLOYMENT.initial if seen == NO_STREAM else _state(application, deployment_id, seen)
        yield Recorded(event, found.version, found.position, found.recorded_at, before)
        earlier.append(found)


def _state(application: Application[UUID], deployment_id: UUID, version: int) -> Deployment:
    state: Any = application.repository.get(deployment_id, version=version, projector_func=_project)
    return cast(Deployment, state)


def _project(state: Any, events: Iterable[Any]) -> Any:
    """A projector function: the aggregate's own `evolve` over the facts."""
    for event in events:
        state = DEPLOYMENT.evolve(DEPLOYMENT.initial if state is None else state, event)
    return state
