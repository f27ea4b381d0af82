"""What the library is handed: its own events as it wrote them, the service's with all the log knows about them."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from eventsourcing.persistence import Notification, ProgrammingError, StoredEvent

from domain.event import StreamRef
from eventstore import log
from eventstore.bridge.streams import CATEGORY
from eventstore.bridge.topics import SCHEMA_VERSION, is_foreign, topic_of, type_of


@dataclass(frozen=True)
class ServiceEvent(StoredEvent):
    """A fact of the service. Its topic is its permanent tag."""

    recorded: log.StoredEvent


@dataclass(frozen=True)
class ServiceNotification(Notification):
    """A fact of the service, with its place in the log."""

    recorded: log.StoredEvent


def stored_event(event: log.StoredEvent) -> StoredEvent:
    """The event in its stream."""
    topic = topic_of(event.type)
    if is_foreign(event.type):
        return StoredEvent(event.stream_id, event.version, topic, event.data)
    return ServiceEvent(event.stream_id, event.version, topic, event.data, event)


def notification(event: log.StoredEvent) -> Notification:
    """The event in the log."""
    topic = topic_of(event.type)
    if is_foreign(event.type):
        return Notification(event.stream_id, event.version, topic, event.data, event.position)
    return ServiceNotification(event.stream_id, event.version, topic, event.data, event.position, event)


def new_event(event: StoredEvent, tenant_id: UUID, meta: bytes) -> log.NewEvent:
    """The library's event on its way into the log: its state stays what it is, byte by byte."""
    stream = StreamRef(tenant_id, CATEGORY, stream_id(event.originator_id))
    type = type_of(event.topic)
    return log.NewEvent(stream, event.originator_version, type, SCHEMA_VERSION, meta, event.state)


def stream_id(originator_id: UUID | str) -> UUID:
    """Streams are known by UUIDs. Raises ProgrammingError for an id that is a text."""
    if not isinstance(originator_id, UUID):
        raise ProgrammingError(f"{originator_id!r} is no UUID: our log knows streams by UUIDs only")
    return originator_id
