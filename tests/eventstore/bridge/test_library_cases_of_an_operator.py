"""The same test cases for a bridge that sees all tenants."""

from __future__ import annotations

from tests.eventstore.bridge import test_library_cases as cases


class TestAggregateRecorder(cases.TestAggregateRecorder):
    TENANT_ID = None


class TestSnapshotRecorder(cases.TestSnapshotRecorder):
    TENANT_ID = None


class TestApplicationRecorder(cases.TestApplicationRecorder):
    TENANT_ID = None


class TestTrackingRecorder(cases.TestTrackingRecorder):
    TENANT_ID = None


class TestProcessRecorder(cases.TestProcessRecorder):
    TENANT_ID = None


class TestNonInterleavingNotificationIDs(cases.TestNonInterleavingNotificationIDs):
    TENANT_ID = None


class TestInfrastructureFactory(cases.TestInfrastructureFactory):
    TENANT_ID = None
