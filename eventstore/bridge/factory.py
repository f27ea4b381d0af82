"""The library's infrastructure factory for our log."""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    ProcessRecorder,
)
from eventsourcing.utils import Environment, EnvType, resolve_topic, strtobool

from eventstore.bridge.datastore import Datastore
from eventstore.bridge.recorders import (
    LogAggregateRecorder,
    LogApplicationRecorder,
    LogProcessRecorder,
    LogRecorder,
    LogTrackingRecorder,
)
from eventstore.bridge.scope import Scope
from eventstore.bridge.snapshots import SnapshotRecorder
from process.settings import SettingInvalid

R = TypeVar("R", bound=LogRecorder)

EVENTS = "events"


class Factory(InfrastructureFactory[LogTrackingRecorder]):
    """Configured by DCF_DATABASE_URL and the service's other settings, DCF_TENANT, CREATE_TABLE, and the library's own.

    All applications write to one log. What would be tables of an application's own in the library's modules is told
    apart by the application's name: tracking and snapshots.
    """

    CREATE_TABLE = "CREATE_TABLE"

    def __init__(self, env: Environment | EnvType | None) -> None:
        """Raises OSError for a variable that cannot be used, as the library's factories do."""
        super().__init__(env)
        try:
            scope = Scope.from_environment(self.env)
        except SettingInvalid as problem:
            raise OSError(str(problem)) from problem
        self.datastore = Datastore(scope, creates_tables=strtobool(self.env.get(self.CREATE_TABLE) or "yes"))

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        super().__exit__(exc_type, exc_val, exc_tb)
        self.close()

    def close(self) -> None:
        """Close every connection. Recorders made here cannot be used any more."""
        self.datastore.close()

    def aggregate_recorder(self, purpose: str = EVENTS) -> AggregateRecorder:
        """Events are in the log, everything else (snapshots) beside it."""
        if purpose == EVENTS:
            return LogAggregateRecorder(self.datastore, name=self._name)
        return SnapshotRecorder(self.datastore, name=f"{self._name}_{purpose}")

    def application_recorder(self) -> ApplicationRecorder:
        return self._chosen(self.APPLICATION_RECORDER_TOPIC, LogApplicationRecorder)

    def tracking_recorder(
        self, tracking_recorder_class: type[LogTrackingRecorder] | None = None
    ) -> LogTrackingRecorder:
        if tracking_recorder_class is None:
            return self._chosen(self.TRACKING_RECORDER_TOPIC, LogTrackingRecorder)
        return self._made(tracking_recorder_class, LogTrackingRecorder)

    def process_recorder(self) -> ProcessRecorder:
        return self._chosen(self.PROCESS_RECORDER_TOPIC, LogProcessRecorder)

    @property
    def _name(self) -> str:
        return self.env.name.lower() or "library"

    def _chosen(self, variable: str, default: type[R]) -> R:
        topic = self.env.get(variable)
        chosen: type[R] = resolve_topic(topic) if topic else default
        return self._made(chosen, default)

    def _made(self, recorder_class: type[R], kind: type[R]) -> R:
        if not issubclass(recorder_class, kind):
            raise TypeError(f"{recorder_class.__qualname__} must derive from {kind.__qualname__}")
        recorder: R = recorder_class(self.datastore, name=self._name)
        return recorder
