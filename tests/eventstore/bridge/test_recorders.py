"""What the bridge promises beyond the library's own test cases."""

from __future__ import annotations

from threading import Thread
from uuid import UUID, uuid4

import pytest
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    DataError,
    IntegrityError,
    InterfaceError,
    Notification,
    ProgrammingError,
    StoredEvent,
    Tracking,
)
from eventsourcing.utils import Environment

from eventstore.bridge import Factory, reading
from eventstore.bridge.recorded import ServiceEvent
from eventstore.postgres import PostgresLog
from projections.audit_trail import AUDIT_TRAIL
from tests.eventstore.bridge.environments import environment
from tests.eventstore.make import OTHER_TENANT, a_stream, an_append, an_event
from tests.projections.conftest import Workshop
from tests.projections.history import History
from tests.support import a


def happened(
    originator_id: UUID, version: int = 1, *, topic: str = "shop:Sold", state: bytes = b"\x80\xff"
) -> StoredEvent:
    return StoredEvent(originator_id, version, topic, state)


class TestInsertEvents:
    async def test_stores_topic_and_state_as_they_are(self, bridge: Factory, log: PostgresLog) -> None:
        bridge.application_recorder().insert_events([happened(uuid4(), state=b"\x00\x80\xff")])

        [stored] = await log.read(0, limit=10)
        assert (stored.type, stored.data) == ("eventsourcing:shop:Sold", b"\x00\x80\xff")

    async def test_a_topic_cannot_pass_for_a_fact_of_the_service(
        self, bridge: Factory, log: PostgresLog, workshop: Workshop
    ) -> None:
        """*Method:* the very bytes of a fact, under its tag; no read model takes them, and none is parked."""
        [fact] = [History(log).event(a.project_created())]
        forged = happened(uuid4(), topic=fact.type, state=fact.data)

        bridge.application_recorder().insert_events([forged])

        worker = await workshop.catch_up()
        assert await workshop.table(AUDIT_TRAIL) == {}
        assert await workshop.database.fetchval("SELECT count(*) FROM views.parked") == 0
        assert await worker.turn() == 0
        assert bridge.application_recorder().select_events(forged.originator_id) == [forged]

    async def test_keeps_out_of_the_services_streams(self, bridge: Factory, history: History) -> None:
        await history.record(a.project_created())

        for factory_recorder in (bridge.application_recorder(), bridge.process_recorder()):
            with pytest.raises(ProgrammingError, match="a stream of the service"):
                factory_recorder.insert_events([happened(a.PROJECT_ID, 2)])
            with pytest.raises(IntegrityError):
                factory_recorder.insert_events([happened(a.PROJECT_ID, 1)])

    def test_refuses_a_gap(self, bridge: Factory) -> None:
        recorder, id = bridge.application_recorder(), uuid4()
        recorder.insert_events([happened(id, 1)])

        with pytest.raises(IntegrityError):
            recorder.insert_events([happened(id, 3)])

    def test_refuses_what_no_append_can_hold(self, bridge: Factory) -> None:
        with pytest.raises(DataError):
            bridge.application_recorder().insert_events([happened(uuid4(), state=b"x" * 2_000_000)])

    def test_knows_streams_by_uuids_only(self, bridge: Factory) -> None:
        with pytest.raises(ProgrammingError):
            bridge.application_recorder().insert_events([StoredEvent("dog-1", 1, "shop:Sold", b"")])

    def test_takes_its_turn_with_the_services_writers(self, bridge: Factory) -> None:
        """Many threads, one order: every position once, none left out."""
        recorder = bridge.application_recorder()
        ids = [uuid4() for _ in range(8)]
        positions: list[int] = []

        def sell(id: UUID) -> None:
            for version in range(1, 11):
                positions.extend(recorder.insert_events([happened(id, version)]) or ())

        threads = [Thread(target=sell, args=(id,)) for id in ids]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(positions) == list(range(1, 81))


class TestTracking:
    def test_fails_together_with_the_events(self, bridge: Factory) -> None:
        recorder, id = bridge.process_recorder(), uuid4()
        recorder.insert_events([happened(id, 1)], tracking=Tracking("upstream", 1))

        with pytest.raises(IntegrityError):
            recorder.insert_events([happened(id, 2)], tracking=Tracking("upstream", 1))
        with pytest.raises(IntegrityError):
            recorder.insert_events([happened(id, 1)], tracking=Tracking("upstream", 2))

        assert recorder.max_tracking_id("upstream") == 1
        assert recorder.max_notification_id() == 1

    def test_is_apart_between_applications(self, environ: dict[str, str], bridge: Factory) -> None:
        bridge.tracking_recorder().insert_tracking(Tracking("upstream", 7))

        with Factory(Environment("Another", environ)) as another:
            assert another.tracking_recorder().max_tracking_id("upstream") is None


class TestTenants:
    async def test_a_bridge_to_one_sees_no_other(
        self, bridge: Factory, database_url: str, history: History, log: PostgresLog
    ) -> None:
        await history.record(a.project_created())
        theirs = a_stream(OTHER_TENANT)
        await log.append(an_append(an_event(theirs), tenant_id=OTHER_TENANT))

        recorder = bridge.application_recorder()
        assert [n.originator_id for n in recorder.select_notifications(None, 10)] == [a.PROJECT_ID]
        assert recorder.max_notification_id() == 1
        assert recorder.select_events(theirs.id) == []
        with Factory(environment(database_url, OTHER_TENANT)) as other:
            assert other.application_recorder().max_notification_id() == 2

    async def test_a_quiet_ones_last_position_is_found_behind_the_others(
        self, bridge: Factory, history: History, log: PostgresLog
    ) -> None:
        await history.record(a.project_created())
        for _ in range(3):
            busy = a_stream(OTHER_TENANT)
            events = [an_event(busy, version) for version in range(1, 501)]
            await log.append(an_append(*events, tenant_id=OTHER_TENANT))

        assert bridge.application_recorder().max_notification_id() == 1

    async def test_an_operators_bridge_writes_to_the_tenant_that_has_the_stream(
        self, bridge: Factory, operators_bridge: Factory, log: PostgresLog
    ) -> None:
        id = uuid4()
        bridge.application_recorder().insert_events([happened(id, 0)])

        operators_bridge.application_recorder().insert_events([happened(id, 1)])

        assert [stored.tenant_id for stored in await log.read(0, limit=10)] == [a.TENANT_ID] * 2
        assert len(bridge.application_recorder().select_events(id)) == 2

    def test_an_operators_bridge_refuses_to_guess(
        self, bridge: Factory, operators_bridge: Factory, database_url: str
    ) -> None:
        id = uuid4()
        bridge.application_recorder().insert_events([happened(id)])
        with Factory(environment(database_url, OTHER_TENANT)) as other:
            other.application_recorder().insert_events([happened(id)])

        with pytest.raises(ProgrammingError, match="several tenants"):
            operators_bridge.application_recorder().select_events(id)


class TestSelectEvents:
    async def test_tells_the_services_facts_from_the_librarys(self, bridge: Factory, history: History) -> None:
        await history.record(a.project_created())
        recorder, id = bridge.application_recorder(), uuid4()
        recorder.insert_events([happened(id)])

        [fact], [foreign] = recorder.select_events(a.PROJECT_ID), recorder.select_events(id)

        assert isinstance(fact, ServiceEvent)
        assert (fact.topic, fact.recorded.schema_version) == ("project.created", 1)
        assert foreign == happened(id)

    @pytest.mark.parametrize("purpose", ["events", "snapshots"])
    def test_takes_so_many_from_either_end(self, bridge: Factory, purpose: str) -> None:
        recorder: AggregateRecorder = bridge.aggregate_recorder(purpose)
        id = uuid4()
        recorder.insert_events([happened(id, version) for version in range(6)])

        def versions(**bounds: int | bool) -> list[int]:
            return [e.originator_version for e in recorder.select_events(id, **bounds)]  # type: ignore[arg-type]

        assert versions() == [0, 1, 2, 3, 4, 5]
        assert versions(gt=0, limit=2) == [1, 2]
        assert versions(lte=3, desc=True, limit=2) == [3, 2]
        assert versions(gt=1, lte=4, desc=True) == [4, 3, 2]


class TestSelectNotifications:
    def test_finds_the_rare_in_windows(self, bridge: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reading, "POSITIONS_AT_ONCE", 4)
        recorder: ApplicationRecorder = bridge.application_recorder()
        for number in range(20):
            recorder.insert_events([happened(uuid4(), topic="rare" if number % 9 == 0 else "common")])

        def ids(start: int | None, limit: int, stop: int | None = None, topic: str = "rare") -> list[int]:
            return [n.id for n in recorder.select_notifications(start, limit, stop, [topic])]

        assert ids(None, 10) == [1, 10, 19]
        assert ids(2, 1) == [10]
        assert ids(2, 10, 18) == [10]
        assert ids(None, 7, topic="common") == [2, 3, 4, 5, 6, 7, 8]


class TestSubscribe:
    async def test_wakes_up_for_the_services_facts(self, bridge: Factory, history: History) -> None:
        await history.record(a.project_created())
        received: list[Notification] = []

        with bridge.application_recorder().subscribe(gt=1, topics=["project.renamed"]) as subscription:
            await history.record(a.deployment_queued(), a.project_renamed("Store"))
            received.append(next(subscription))

        assert [(n.id, n.topic) for n in received] == [(3, "project.renamed")]

    def test_ends_when_the_infrastructure_is_closed(self, environ: dict[str, str]) -> None:
        factory = Factory(Environment("Library", environ))
        with factory.application_recorder().subscribe() as subscription:
            factory.close()

            with pytest.raises(InterfaceError):
                next(subscription)


class TestClosed:
    def test_recorders_say_so(self, environ: dict[str, str]) -> None:
        factory = Factory(Environment("Library", environ))
        recorder = factory.application_recorder()
        factory.close()
        factory.close()

        with pytest.raises(InterfaceError):
            recorder.max_notification_id()
