"""The test cases the library ships for whole applications and projections, unmodified, on our log."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from unittest import TestCase

import pytest
from eventsourcing.persistence import InfrastructureFactory
from eventsourcing.tests import application, projection
from eventsourcing.utils import Environment

from eventstore.bridge import Factory
from tests.eventstore.bridge.counters import CountersInPostgres
from tests.eventstore.bridge.environments import environment
from tests.eventstore.make import OTHER_TENANT


class InOurEnvironment(TestCase):
    """Makes the bridge what applications find in the process's environment."""

    environ: dict[str, str]

    @pytest.fixture(autouse=True)
    def _in_our_environment(self, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        self.environ = environment(database_url, None)
        for variable, value in self.environ.items():
            monkeypatch.setenv(variable, value)
        yield
        # The test cases leave their applications behind.
        gc.collect()


class TestExampleApplication(InOurEnvironment, application.ExampleApplicationTestCase):
    expected_factory_topic = "eventstore.bridge.factory:Factory"


@pytest.mark.filterwarnings("default::DeprecationWarning")  # One of them asserts that it is warned.
class TestApplication(InOurEnvironment, application.ApplicationTestCase):
    pass


class TestEventCountersView(InOurEnvironment, projection.EventCountersViewTestCase):
    def construct_event_counters_view(self) -> CountersInPostgres:
        factory = InfrastructureFactory.construct(Environment("EventCounters", self.environ))
        assert isinstance(factory, Factory)
        self.addCleanup(factory.close)
        view = factory.tracking_recorder(CountersInPostgres)
        assert isinstance(view, CountersInPostgres)
        return view


class TestEventCountersProjection(InOurEnvironment, projection.AggregateEventCountersProjectionTestCase):
    view_class = CountersInPostgres


class TestEventSourcedProjection(InOurEnvironment, projection.EventSourcedProjectionTestCase):
    """What this one follows and what it writes must be apart, or it would follow itself: it gets a tenant of its own."""

    @pytest.fixture(autouse=True)
    def _apart(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("APPLICATION_DCF_TENANT", str(OTHER_TENANT))
        monkeypatch.setenv("COUNTERS_DCF_TENANT", "018f0000-0000-7000-8000-00000000000c")
