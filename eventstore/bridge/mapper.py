"""Stored events as objects: the service's as our own event Structs, an application's as it declares them."""

from __future__ import annotations

from functools import cache
from typing import Any, cast
from uuid import UUID

import msgspec
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import Mapper, MapperDeserialisationError, ProgrammingError, StoredEvent
from eventsourcing.utils import get_topic, resolve_topic

from domain.catalogue import AGGREGATES
from domain.event import Event
from eventstore import log
from eventstore.bridge.recorded import ServiceEvent, ServiceNotification
from eventstore.codec import Codec, UnknownEventType, UnreadableEvent, tag_of

_CODEC = Codec(AGGREGATES)


class EventMapper(Mapper[UUID]):
    """For MAPPER_TOPIC. Reads what the service wrote, and both reads and writes events that are msgspec Structs.

    A fact of the service is an instance of its own class, with `originator_id`, `originator_version` and `at` filled
    in; older forms are upcast. It cannot be written: only commands record facts. What an application declares as a
    Struct needs the fields `originator_id` and `originator_version`; anything else is left to the library's mapper.
    """

    def to_stored_event(self, domain_event: DomainEventProtocol[UUID]) -> StoredEvent:
        event: object = domain_event
        if isinstance(event, Event):
            raise ProgrammingError(f"{tag_of(type(event))} is a fact of the service: only its commands record it")
        if not isinstance(event, msgspec.Struct):
            return super().to_stored_event(domain_event)
        state = self._closed(msgspec.json.encode(event))
        return StoredEvent(domain_event.originator_id, domain_event.originator_version, get_topic(type(event)), state)

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEventProtocol[UUID]:
        """Raises MapperDeserialisationError when the bytes are no such event."""
        if isinstance(stored_event, (ServiceEvent, ServiceNotification)):
            return _fact(stored_event.recorded)
        cls = resolve_topic(stored_event.topic)
        if not (isinstance(cls, type) and issubclass(cls, msgspec.Struct)):
            return super().to_domain_event(stored_event)
        try:
            event = msgspec.json.decode(self._opened(stored_event.state), type=cls)
        except ValueError as error:
            raise MapperDeserialisationError(f"{stored_event.topic}: {error}") from error
        return cast(DomainEventProtocol[UUID], event)

    def _closed(self, state: bytes) -> bytes:
        if self.compressor:
            state = self.compressor.compress(state)
        return self.cipher.encrypt(state) if self.cipher else state

    def _opened(self, state: bytes) -> bytes:
        if self.cipher:
            state = self.cipher.decrypt(state)
        return self.compressor.decompress(state) if self.compressor else state


def _fact(recorded: log.StoredEvent) -> DomainEventProtocol[UUID]:
    try:
        event = _CODEC.decode(recorded)
    except (UnknownEventType, UnreadableEvent) as error:
        raise MapperDeserialisationError(str(error)) from error
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    fact = _located(type(event))(originator_id=recorded.stream_id, originator_version=recorded.version, **fields)
    return cast(DomainEventProtocol[UUID], fact)


@cache
def _located(event: type[Event]) -> type[Any]:
    """The event's class with the two fields the library asks of every domain event."""
    return msgspec.defstruct(
        event.__name__,
        [("originator_id", UUID), ("originator_version", int)],
        bases=(event,),
        module=event.__module__,
        frozen=True,
        kw_only=True,
        tag=tag_of(event),
    )
