"""The peer: the eventsourcing library's ProjectionRunner on its own PostgreSQL recorder, keeping the same rows as we do."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar, Self, cast
from uuid import UUID

import msgspec
import psycopg
from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import Mapper, StoredEvent, Tracking
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.utils import get_topic
from psycopg.conninfo import conninfo_to_dict

from benchmarks.past import BEGAN, Row, queued
from domain.catalogue import AGGREGATES
from domain.event import Event
from eventstore.codec import tag_of
from eventstore.database import connect
from projections.deployments import DEPLOYMENTS
from projections.recorded import Recorded
from projections.tables import install

# Rows are the same as ours without the history, which the library does not have.
MODEL = msgspec.structs.replace(DEPLOYMENTS, build=1, keeps_history=False)
# Few enough: see EVENTS_AT_ONCE in eventsourcing_application.py.
INSERTED_TOGETHER = 100
WAIT_SECONDS_MAX = 10.0
_TRACKING = "deploymentsprojection_tracking"
_FORGET = f"DELETE FROM {_TRACKING} WHERE application_name = %s"  # noqa: S608 - constants of this file

_DECODERS = {tag_of(event): msgspec.json.Decoder(event) for a in AGGREGATES for event in a.events}
_NAMES = ["tenant_id", "id", "first_position", "position", *(column.name for column in MODEL.columns), "row"]
_ROW = f"SELECT first_position, row FROM views.{MODEL.kind} WHERE tenant_id = %s AND id = %s"  # noqa: S608 - constants of this file
_KEEP = f"""
    INSERT INTO views.{MODEL.kind} ({", ".join(_NAMES)})
    VALUES ({", ".join(["%s"] * len(_NAMES))})
        ON CONFLICT (tenant_id, id) DO UPDATE
       SET {", ".join(f"{name} = EXCLUDED.{name}" for name in _NAMES[3:])}
"""  # noqa: S608 - every name is the model's own


class _Happened(msgspec.Struct, frozen=True):
    """An event as the library hands it on."""

    originator_id: UUID
    originator_version: int
    tenant_id: UUID
    at: datetime
    event: Event


class _State(msgspec.Struct, frozen=True, array_like=True):
    """What its recorder stores of an event."""

    tenant_id: UUID
    at: datetime
    data: msgspec.Raw


class EventMapper(Mapper[UUID]):
    """Decodes as fast as ours, so that what is compared is how events are read and rows written."""

    _decoder: ClassVar = msgspec.json.Decoder(_State)

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEventProtocol[UUID]:
        state = self._decoder.decode(stored_event.state)
        event = _DECODERS[stored_event.topic].decode(state.data)
        happened: object = _Happened(
            cast("UUID", stored_event.originator_id),
            stored_event.originator_version,
            state.tenant_id,
            state.at,
            event,
        )
        return cast(DomainEventProtocol[UUID], happened)


class Deployments(Application[UUID]):
    """Only reads."""


class DeploymentRows(PostgresTrackingRecorder):
    """The rows, each kept together with the position of the event that changed it."""

    def change(self, happened: _Happened, tracking: Tracking) -> None:
        position = tracking.notification_id
        recorded = Recorded(
            happened.event,
            happened.tenant_id,
            happened.originator_id,
            happened.originator_version,
            position,
            happened.at,
            b"",
        )
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            for id in MODEL.keys(recorded):
                found = cursor.execute(_ROW, (happened.tenant_id, id), prepare=True).fetchone()
                before = None if found is None else msgspec.json.decode(found["row"], type=MODEL.row)
                after = MODEL.project(before, recorded)
                if after is None or after is before:
                    continue
                first = position if found is None else found["first_position"]
                columns = [column.of(after) for column in MODEL.columns]
                values = (happened.tenant_id, id, first, position, *columns, msgspec.json.encode(after))
                cursor.execute(_KEEP, values, prepare=True)


class DeploymentsProjection(Projection[DeploymentRows]):
    """Hears of what changes rows and of nothing else: the library leaves the rest in the database."""

    topics = tuple(tag_of(event) for event in MODEL.interests)

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        self.view.change(domain_event, tracking)


async def make_tables(url: str) -> None:
    """Make the table of the rows in a migrated database; the library makes its own."""
    async with connect(url, role="dcf_engine", size_max=1) as database:
        await install(database, [MODEL], [])


def fill(url: str, rows: Iterable[Row]) -> None:
    """Record the events by the library's own recorder. Blocks."""
    with Deployments(_environment(url)) as application:
        events: list[StoredEvent] = []
        for _, tenant_id, stream_id, version, type, _, at, _, data in rows:
            events.append(StoredEvent(stream_id, version, type, _state(tenant_id, at, data)))
            if len(events) == INSERTED_TOGETHER:
                application.recorder.insert_events(events)
                events = []
        application.recorder.insert_events(events)


def catch_up(url: str, seconds: float) -> float:
    """Events a second that a runner gets past from the beginning, in so many seconds. Blocks."""
    _forget(url)
    with ProjectionRunner(
        application_class=Deployments,
        projection_class=DeploymentsProjection,
        view_class=DeploymentRows,
        env=_environment(url),
    ) as runner:
        began = time.perf_counter()
        runner.run_forever(timeout=seconds)
        reached = runner.view.max_tracking_id(runner.app_name) or 0
        return reached / (time.perf_counter() - began)


class Following:
    """A runner that keeps up with what is recorded meanwhile. Use it as a context."""

    def __init__(self, url: str) -> None:
        _forget(url)
        self._runner = ProjectionRunner(
            application_class=Deployments,
            projection_class=DeploymentsProjection,
            view_class=DeploymentRows,
            env=_environment(url),
        )

    def __enter__(self) -> Self:
        self._runner.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._runner.__exit__(*error)

    def record(self, number: int) -> int:
        """Queue a deployment; the position. Blocks."""
        stream, event, _ = queued(number)
        state = _state(stream.tenant_id, BEGAN, msgspec.json.encode(event))
        stored = StoredEvent(stream.id, 1, tag_of(type(event)), state)
        (position,) = self._runner.app.recorder.insert_events([stored]) or (0,)
        return position

    def wait(self, position: int) -> None:
        """Until the rows show what was recorded there. Blocks."""
        self._runner.wait(position, timeout=WAIT_SECONDS_MAX)


def _forget(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(f"TRUNCATE views.{MODEL.kind}")
        if connection.execute(f"SELECT to_regclass('public.{_TRACKING}')").fetchone() != (None,):
            connection.execute(_FORGET, (Deployments.name,))


def _state(tenant_id: UUID, at: datetime, data: bytes) -> bytes:
    return msgspec.json.encode(_State(tenant_id, at, msgspec.Raw(data)))


def _environment(url: str) -> dict[str, str]:
    parts: dict[str, Any] = conninfo_to_dict(url)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": parts["dbname"],
        "POSTGRES_HOST": parts["host"],
        "POSTGRES_PORT": parts.get("port", "5432"),
        "POSTGRES_USER": parts["user"],
        "POSTGRES_PASSWORD": "unused",
        "MAPPER_TOPIC": get_topic(EventMapper),
    }
