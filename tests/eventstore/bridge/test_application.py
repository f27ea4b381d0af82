"""A small application on the library: aggregates, a snapshot, a projection, and the service's facts beside its own."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID, uuid4

import msgspec
import pytest
from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import ProgrammingError, Tracking
from eventsourcing.projection import Projection, ProjectionRunner

from domain.deployment import DeploymentQueued
from domain.event import SYSTEM_TENANT
from domain.project import ProjectCreated, ProjectRenamed
from eventstore.bridge import EventMapper
from eventstore.bridge.datastore import Datastore
from eventstore.bridge.recorders import LogTrackingRecorder
from eventstore.codec import tag_of
from tests.projections.history import History
from tests.support import a

MAPPER = {"MAPPER_TOPIC": "eventstore.bridge:EventMapper"}


class Incident(Aggregate):
    """Something that went wrong with a project of the service."""

    @event("Opened")
    def __init__(self, project_id: UUID) -> None:
        self.project_id = project_id
        self.notes: list[str] = []

    @event("Noted")
    def note(self, text: str) -> None:
        self.notes.append(text)


class Incidents(Application[UUID]):
    snapshotting_intervals: ClassVar[dict[Any, int]] = {Incident: 3}

    def open(self, project_id: UUID) -> UUID:
        incident = Incident(project_id)
        self.save(incident)
        return incident.id

    def note(self, incident_id: UUID, text: str) -> int:
        incident: Incident = self.repository.get(incident_id)
        incident.note(text)
        return self.save(incident)[-1].notification.id


class Names(LogTrackingRecorder):
    """A view in memory: how projects are called, and how many incidents each has."""

    def __init__(self, datastore: Datastore, *, name: str) -> None:
        super().__init__(datastore, name=name)
        self.names: dict[UUID, str] = {}
        self.incidents: dict[UUID, int] = {}


class NamesProjection(Projection[Names]):
    name = "names"
    topics = (
        tag_of(ProjectCreated),
        tag_of(ProjectRenamed),
        "tests.eventstore.bridge.test_application:Incident.Opened",
    )

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        raise AssertionError(f"not asked for: {domain_event}")

    @process_event.register
    def created(self, fact: ProjectCreated, tracking: Tracking) -> None:
        self.view.names[fact.originator_id] = fact.name  # type: ignore[attr-defined]
        self.view.insert_tracking(tracking)

    @process_event.register
    def renamed(self, fact: ProjectRenamed, tracking: Tracking) -> None:
        self.view.names[fact.originator_id] = fact.name  # type: ignore[attr-defined]
        self.view.insert_tracking(tracking)

    @process_event.register
    def opened(self, opened: Incident.Opened, tracking: Tracking) -> None:  # type: ignore[name-defined]
        self.view.incidents[opened.project_id] = self.view.incidents.get(opened.project_id, 0) + 1
        self.view.insert_tracking(tracking)


class Booked(msgspec.Struct, frozen=True):
    """An event an application declares as a Struct."""

    originator_id: UUID
    originator_version: int
    seats: int


def project_name(name: str | None, facts: Any) -> str | None:
    """A projector function: the project's name after the facts."""
    for fact in facts:
        match fact:
            case ProjectCreated(name=given) | ProjectRenamed(name=given):
                name = given
            case _:
                pass
    return name


class TestApplicationOnTheLibrary:
    def test_saves_and_gets_aggregates_with_snapshots(self, environ: dict[str, str]) -> None:
        with Incidents(environ) as app:
            incident_id = app.open(a.PROJECT_ID)
            for text in ("first", "second", "third"):
                app.note(incident_id, text)

            incident: Incident = app.repository.get(incident_id)
            assert incident.notes == ["first", "second", "third"]
            assert app.snapshots is not None
            assert [snapshot.originator_version for snapshot in app.snapshots.get(incident_id)] == [3]

    def test_finds_them_again_in_another_process(self, environ: dict[str, str]) -> None:
        with Incidents(environ) as app:
            incident_id = app.open(a.PROJECT_ID)

        with Incidents(environ) as app:
            app.note(incident_id, "later")
            incident: Incident = app.repository.get(incident_id, version=1)
            assert incident.notes == []

    async def test_its_projection_follows_the_service_and_itself(
        self, environ: dict[str, str], history: History
    ) -> None:
        await history.record(
            a.project_created(), a.project_renamed("Store"), a.deployment_queued(), a.deployment_claimed()
        )

        with ProjectionRunner(
            application_class=Incidents, projection_class=NamesProjection, view_class=Names, env=environ | MAPPER
        ) as runner:
            runner.app.open(a.PROJECT_ID)
            runner.app.open(a.PROJECT_ID)
            runner.wait(runner.app.recorder.max_notification_id(), timeout=60)
            view = runner.projection.view

            assert view.names == {a.PROJECT_ID: "Store"}
            assert view.incidents == {a.PROJECT_ID: 2}

    async def test_its_projection_goes_on_where_it_stopped(self, environ: dict[str, str], history: History) -> None:
        await history.record(a.project_created())
        for expected in ({a.PROJECT_ID: "Shop"}, {a.PROJECT_ID: "Store"}):
            with ProjectionRunner(
                application_class=Incidents, projection_class=NamesProjection, view_class=Names, env=environ | MAPPER
            ) as runner:
                runner.wait(runner.app.recorder.max_notification_id(), timeout=60)
                assert runner.projection.view.names == expected
            await history.record(a.project_renamed("Store"))


class TestEventMapper:
    async def test_reads_what_the_service_wrote_as_our_events(self, environ: dict[str, str], history: History) -> None:
        await history.record(a.project_created(), a.project_renamed("Store"))

        with Incidents(environ | MAPPER) as app:
            created, renamed = app.events.get(a.PROJECT_ID)

        assert isinstance(created, ProjectCreated)
        assert isinstance(renamed, ProjectRenamed)
        assert (renamed.name, renamed.originator_id, renamed.originator_version) == ("Store", a.PROJECT_ID, 2)
        assert renamed.at is not None

    async def test_lets_the_repository_fold_them(self, environ: dict[str, str], history: History) -> None:
        await history.record(a.project_created(), a.project_renamed("Store"), a.project_renamed("Market"))

        with Incidents(environ | MAPPER) as app:
            at_two: Any = app.repository.get(a.PROJECT_ID, version=2, projector_func=project_name)  # type: ignore[type-var]
            now: Any = app.repository.get(a.PROJECT_ID, projector_func=project_name)  # type: ignore[type-var]

        assert (at_two, now) == ("Store", "Market")

    async def test_shows_an_operator_every_tenant(self, environ: dict[str, str], history: History) -> None:
        await history.record(a.plan_defined(), a.project_created(), a.deployment_queued())

        with Incidents(environ | MAPPER | {"DCF_TENANT": ""}) as app:
            notifications = app.recorder.select_notifications(None, 10)
            facts = [app.mapper.to_domain_event(notification) for notification in notifications]

        assert [type(fact).__name__ for fact in facts] == ["PlanDefined", "ProjectCreated", "DeploymentQueued"]
        assert isinstance(facts[2], DeploymentQueued)
        recorded = [getattr(notification, "recorded", None) for notification in notifications]
        assert [getattr(r, "tenant_id", None) for r in recorded] == [SYSTEM_TENANT, a.TENANT_ID, a.TENANT_ID]

    def test_writes_and_reads_structs_of_an_application(self, environ: dict[str, str]) -> None:
        booked = Booked(uuid4(), 1, seats=3)

        with Incidents(environ | MAPPER | {"COMPRESSOR_TOPIC": "zlib"}) as app:
            app.events.put([booked])

            assert list(app.events.get(booked.originator_id)) == [booked]

    async def test_never_writes_a_fact_of_the_service(self, environ: dict[str, str], history: History) -> None:
        await history.record(a.project_created())

        with Incidents(environ | MAPPER) as app:
            [created] = app.events.get(a.PROJECT_ID)
            with pytest.raises(ProgrammingError, match="project\\.created is a fact of the service"):
                app.events.put([created])

    def test_is_a_mapper_of_the_librarys(self, environ: dict[str, str]) -> None:
        with Incidents(environ | MAPPER) as app:
            assert isinstance(app.mapper, EventMapper)
            assert app.repository.get(app.open(a.PROJECT_ID))
