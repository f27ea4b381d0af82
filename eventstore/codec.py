"""Events as bytes and back: permanent tags, schema versions, upcasters for what older code stored."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import msgspec

from domain.event import Aggregate, Event, StreamRef
from domain.refusal import Busy
from eventstore.fingerprint import fingerprint
from eventstore.log import NewEvent, StoredEvent
from eventstore.meta import Meta, encode_meta
from eventstore.upcasters import UPCASTERS, Upcaster

FIRST_SCHEMA_VERSION = 1


class UnknownEventType(Exception):
    """No aggregate of the catalogue has an event of this type."""


class EventOfNewerCode(Busy, UnknownEventType):
    """A newer version of the service has recorded here what this one does not know."""

    code = "newer_version_needed"
    remedy = "Ask again shortly: while the service is upgraded, processes of the newer version answer too."
    retry_after_seconds = 5


class UnreadableEvent(Exception):
    """The stored bytes are no event of their type."""


class Codec:
    """Encodes and decodes the events of a fixed set of aggregates.

    An event type's schema version is one more than the version its newest upcaster takes, so it cannot
    be raised without saying how older events are read. Events of a newer version than this code knows
    are decoded as they are: unknown fields are ignored, so old and new code can run side by side. What cannot be
    decoded so is left to the newer code, like a type that is not known at all.
    """

    def __init__(self, aggregates: Sequence[Aggregate[Any]], upcasters: Sequence[Upcaster] = UPCASTERS) -> None:
        self._decoders = {tag_of(event): msgspec.json.Decoder(event) for a in aggregates for event in a.events}
        if len(self._decoders) != sum(len(a.events) for a in aggregates):
            raise ValueError("Two events share a tag, or one event belongs to two aggregates.")
        self._upcasters = {(u.type, u.version): u for u in upcasters}
        self._versions = {tag: self._newest(tag) for tag in self._decoders}
        self._families = {_family(tag) for tag in self._decoders}
        # Names the code that reads and folds these events: states kept under another name are not to be used.
        self.code = fingerprint(_modules(aggregates, upcasters))
        # The short way for what nearly all events are: of the present version.
        self._readers = {(tag, self._versions[tag]): _reader(decoder.decode) for tag, decoder in self._decoders.items()}

    def schema_version(self, type: str) -> int:
        """The version new events of this type are stored with. Raises UnknownEventType."""
        try:
            return self._versions[type]
        except KeyError:
            raise UnknownEventType(type) from None

    def knows(self, type: str) -> bool:
        """Whether events of this type can be decoded; foreign ones are skipped by our own readers."""
        return type in self._decoders

    @property
    def types(self) -> Collection[str]:
        """All that can be decoded."""
        return self._decoders.keys()

    def is_of_newer_code(self, type: str) -> bool:
        """Whether only newer code has events of this type: it is not known, and named as ours are."""
        return type not in self._decoders and _family(type) in self._families

    def encode(self, event: Event) -> tuple[str, int, bytes]:
        """The event's type, schema version and data. Raises UnknownEventType when it is in no aggregate."""
        tag = tag_of(type(event))
        if event.at is not None:
            event = msgspec.structs.replace(event, at=None)
        return tag, self.schema_version(tag), msgspec.json.encode(event)

    def new_event(self, stream: StreamRef, version: int, event: Event, meta: Meta) -> NewEvent:
        """The event on its way into the log, at `version` of its stream."""
        tag, schema_version, data = self.encode(event)
        return NewEvent(stream, version, tag, schema_version, encode_meta(meta), data)

    def decode(self, stored: StoredEvent) -> Event:
        """The event with `at` filled in. Raises EventOfNewerCode or UnreadableEvent."""
        return self.reader(stored.type, stored.schema_version)(stored)

    def reader(self, type: str, schema_version: int) -> Callable[[StoredEvent], Event]:
        """What decodes events of this type and version as `decode` does, for whoever has many of them."""
        return self._readers.get((type, schema_version), self._decode)

    def _decode(self, stored: StoredEvent) -> Event:
        event = self.decode_data(stored.type, stored.schema_version, stored.data)
        msgspec.structs.force_setattr(event, "at", stored.recorded_at)
        return event

    def decode_data(self, type: str, schema_version: int, data: bytes) -> Event:
        """The event without the time of its recording. Raises EventOfNewerCode or UnreadableEvent."""
        if type not in self._decoders:
            raise EventOfNewerCode(f"This version of the service knows no event “{type}”.")
        if schema_version < self.schema_version(type):
            data = self._upcast(type, schema_version, data)
        try:
            return self._decoders[type].decode(data)
        except msgspec.MsgspecError as error:
            if schema_version > self._versions[type] and isinstance(error, msgspec.ValidationError):
                said = f"This version of the service cannot read version {schema_version} of the event “{type}”."
                raise EventOfNewerCode(said) from error
            raise UnreadableEvent(f"{type} {schema_version}: {error}") from error

    def _newest(self, tag: str) -> int:
        version = FIRST_SCHEMA_VERSION
        while (tag, version) in self._upcasters:
            version += 1
        return version

    def _upcast(self, type: str, schema_version: int, data: bytes) -> bytes:
        fields = msgspec.json.decode(data, type=dict[str, Any])
        for version in range(schema_version, self._versions[type]):
            fields = self._upcasters[type, version].upcast(fields)
        return msgspec.json.encode(fields)


def _reader(decode: Callable[[bytes], Event]) -> Callable[[StoredEvent], Event]:
    complete = msgspec.structs.force_setattr

    def read(stored: StoredEvent) -> Event:
        try:
            event = decode(stored.data)
        except msgspec.MsgspecError as error:
            raise UnreadableEvent(f"{stored.type} {stored.schema_version}: {error}") from error
        complete(event, "at", stored.recorded_at)
        return event

    return read


def _modules(aggregates: Sequence[Aggregate[Any]], upcasters: Sequence[Upcaster]) -> Iterator[str]:
    yield from (upcaster.upcast.__module__ for upcaster in upcasters)
    for aggregate in aggregates:
        yield aggregate.evolve.__module__
        yield type(aggregate.initial).__module__
        yield from (event.__module__ for event in aggregate.events)


def _family(tag: str) -> str:
    return tag.partition(".")[0]


def tag_of(event: type[Event]) -> str:
    """The permanent tag an event class is stored under. Raises TypeError when it has none of its own."""
    tag = event.__struct_config__.tag
    if not isinstance(tag, str) or "." not in tag:
        raise TypeError(f"{event.__name__} needs a permanent tag, like tag='deployment.queued'.")
    return tag
