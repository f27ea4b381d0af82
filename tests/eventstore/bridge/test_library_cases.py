"""Every test case the library ships for recorders and factories, unmodified, against the bridge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar
from unittest import TestCase
from uuid import UUID

import pytest
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    ProcessRecorder,
    TrackingRecorder,
)
from eventsourcing.tests.persistence import (
    AggregateRecorderTestCase,
    ApplicationRecorderTestCase,
    InfrastructureFactoryTestCase,
    NonInterleavingNotificationIDsBaseCase,
    ProcessRecorderTestCase,
    TrackingRecorderTestCase,
)
from eventsourcing.utils import Environment

from eventstore.bridge import Factory
from eventstore.bridge.recorders import (
    LogAggregateRecorder,
    LogApplicationRecorder,
    LogProcessRecorder,
    LogTrackingRecorder,
)
from tests.eventstore.bridge.environments import environment
from tests.eventstore.make import TENANT


class OnOurLog(TestCase):
    """Gives a test case of the library an environment and a factory."""

    TENANT_ID: ClassVar[UUID | None] = TENANT
    environ: dict[str, str]
    bridge: Factory

    @pytest.fixture(autouse=True)
    def _on_our_log(self, database_url: str) -> Iterator[None]:
        self.environ = environment(database_url, self.TENANT_ID)
        with InfrastructureFactory.construct(Environment("App", self.environ)) as factory:
            assert isinstance(factory, Factory)
            self.bridge = factory
            yield


class TestAggregateRecorder(OnOurLog, AggregateRecorderTestCase):
    def create_recorder(self) -> AggregateRecorder:
        return self.bridge.aggregate_recorder()


class TestSnapshotRecorder(OnOurLog, AggregateRecorderTestCase):
    def create_recorder(self) -> AggregateRecorder:
        return self.bridge.aggregate_recorder(purpose="snapshots")


class TestApplicationRecorder(OnOurLog, ApplicationRecorderTestCase[ApplicationRecorder]):
    def create_recorder(self) -> ApplicationRecorder:
        return self.bridge.application_recorder()

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestTrackingRecorder(OnOurLog, TrackingRecorderTestCase):
    def create_recorder(self) -> TrackingRecorder:
        return self.bridge.tracking_recorder()


class TestProcessRecorder(OnOurLog, ProcessRecorderTestCase):
    def create_recorder(self) -> ProcessRecorder:
        return self.bridge.process_recorder()


class TestNonInterleavingNotificationIDs(OnOurLog, NonInterleavingNotificationIDsBaseCase):
    def create_recorder(self) -> ApplicationRecorder:
        return self.bridge.application_recorder()


class TestInfrastructureFactory(OnOurLog, InfrastructureFactoryTestCase[Factory]):
    def setUp(self) -> None:
        self.env = Environment("App", self.environ)
        super().setUp()

    def expected_factory_class(self) -> type[Factory]:
        return Factory

    def expected_aggregate_recorder_class(self) -> type[AggregateRecorder]:
        return LogAggregateRecorder

    def expected_application_recorder_class(self) -> type[ApplicationRecorder]:
        return LogApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[TrackingRecorder]:
        return LogTrackingRecorder

    def tracking_recorder_subclass(self) -> type[TrackingRecorder]:
        return TrackingRecorderOfAnApplication

    def expected_process_recorder_class(self) -> type[ProcessRecorder]:
        return LogProcessRecorder


class TrackingRecorderOfAnApplication(LogTrackingRecorder):
    """What an application may derive."""
