"""The library's recorders on our log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, assert_never
from uuid import UUID, uuid4

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    IntegrityError,
    Notification,
    ProcessRecorder,
    StoredEvent,
    Subscription,
    Tracking,
    TrackingRecorder,
)

from eventstore import tracking as core
from eventstore.bridge.datastore import Datastore, Reach
from eventstore.bridge.errors import as_the_librarys
from eventstore.bridge.reading import COUNT_MAX, VERSION_MAX, Span, events_between, last_position, stream_events
from eventstore.bridge.recorded import new_event, notification, stored_event, stream_id
from eventstore.bridge.subscription import LogSubscription
from eventstore.bridge.topics import types_of
from eventstore.bridge.writing import Homes, record
from eventstore.database import Connection
from eventstore.log import Append, Appended, ClaimTaken, CounterFull, Duplicate, Outcome, Overtaken
from eventstore.meta import Actor, Meta, encode_meta

APPEND_COMMAND = "eventsourcing.append"


class LogRecorder:
    """What all recorders have: the datastore, and the name of the application they record for."""

    def __init__(self, datastore: Datastore, *, name: str) -> None:
        self.datastore = datastore
        self.name = name
        with as_the_librarys():
            datastore.open()


class LogAggregateRecorder(LogRecorder, AggregateRecorder):
    """Aggregate sequences are streams of the log, and may begin at version 0 or 1."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """All or nothing. Raises IntegrityError when a version is taken, twice in one call, or leaves a gap."""
        self._insert(stored_events)
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        id, span = stream_id(originator_id), span_of(gt, lte, desc=desc, limit=limit)
        with as_the_librarys():
            events = self.datastore.ask(lambda reach: stream_events(reach, id, span))
        return [stored_event(event) for event in events]

    def _insert(self, stored_events: Sequence[StoredEvent], tracking: core.Tracking | None = None) -> list[int]:
        """The positions. `tracking` is recorded with the events; without events there is nothing to record it with."""
        if not stored_events:
            return []
        first_versions: dict[UUID, int] = {}
        for event in stored_events:
            first_versions.setdefault(stream_id(event.originator_id), event.originator_version)
        with as_the_librarys():
            outcome = self.datastore.once(
                lambda reach: record(reach, first_versions, lambda homes: self._append(stored_events, homes), tracking)
            )
        return _positions(outcome)

    def _append(self, stored_events: Sequence[StoredEvent], homes: Homes) -> Append:
        command_id = uuid4()
        meta = encode_meta(Meta(actor=Actor("system", self.name), command=APPEND_COMMAND, command_id=command_id))
        events = [new_event(event, homes[stream_id(event.originator_id)], meta) for event in stored_events]
        return Append(tenant_id=events[0].stream.tenant_id, command_id=command_id, events=tuple(events))


class LogApplicationRecorder(LogAggregateRecorder, ApplicationRecorder):
    """The application sequence is the log: notification ids are positions, and rise without ever skipping one.

    A bridge to one tenant sees that tenant's positions only.
    """

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        return self._insert(stored_events)

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        above = max(0, (start or 0) - 1 if inclusive_of_start else start or 0)
        return self.read(above, stop, topics=topics, limit=limit)[0]

    def read(
        self, above: int, stop: int | None = None, *, topics: Sequence[str] = (), limit: int
    ) -> tuple[Sequence[Notification], int]:
        """As select_notifications, and the position up to which there are no others."""
        types = types_of(topics)
        with as_the_librarys():
            found = self.datastore.ask(lambda reach: events_between(reach, above, stop, types=types, limit=limit))
        return [notification(event) for event in found.events], found.reached

    def max_notification_id(self) -> int | None:
        with as_the_librarys():
            return self.datastore.ask(last_position)

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        return LogSubscription(recorder=self, gt=gt, topics=topics)


class LogTrackingRecorder(LogRecorder, TrackingRecorder):
    """Keeps the furthest position tracked of each application followed.

    A view derives from it, and writes its own tables by `insert_tracking_with`.
    """

    def insert_tracking(self, tracking: Tracking) -> None:
        """Raises IntegrityError when it, or a later one, was recorded before."""
        with as_the_librarys():
            self.datastore.track(self._ours(tracking))

    def insert_tracking_with(self, tracking: Tracking, work: Callable[[Connection], Awaitable[None]]) -> None:
        """The same, together with what `work` does on the connection it is given, or not at all."""
        with as_the_librarys():
            self.datastore.track(self._ours(tracking), work)

    def max_tracking_id(self, application_name: str) -> int | None:
        async def tracked(reach: Reach) -> int | None:
            return await core.tracked(reach.database, reach.home, consumer=self.name, application=application_name)

        with as_the_librarys():
            return self.datastore.ask(tracked)

    def _ours(self, tracking: Tracking) -> core.Tracking:
        return core.Tracking(self.datastore.home, self.name, tracking.application_name, tracking.notification_id)


class LogProcessRecorder(LogTrackingRecorder, LogApplicationRecorder, ProcessRecorder):
    """Events, and how far their application had come in what it follows, in one append."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        tracking: Tracking | None = kwargs.get("tracking")
        if tracking is not None and not stored_events:
            self.insert_tracking(tracking)
        return self._insert(stored_events, None if tracking is None else self._ours(tracking))


def span_of(gt: int | None, lte: int | None, *, desc: bool, limit: int | None) -> Span:
    """The library's bounds as ours."""
    return Span(
        above=-1 if gt is None else gt,
        up_to=VERSION_MAX if lte is None else lte,
        newest_first=desc,
        at_most=COUNT_MAX if limit is None else limit,
    )


def _positions(outcome: Outcome) -> list[int]:
    match outcome:
        # Command ids are made for each append, so what was recorded before was recorded by us, a moment ago.
        case Appended() | Duplicate():
            return list(range(outcome.first_position, outcome.last_position + 1))
        case Overtaken(stream=stream, expected=expected, actual=actual):
            raise IntegrityError(f"{stream.id}: an event follows version {expected}, and the last one is {actual}")
        case ClaimTaken() | CounterFull():
            raise AssertionError("an append without conditions met one")
        case _:
            assert_never(outcome)
