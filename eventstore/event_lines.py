"""Stored events as lines of JSON, from which every byte of them can be had again.

A line is one object: `position`, `tenantId`, `streamId`, `version`, `type`, `schemaVersion`, `recordedAt` (RFC 3339, UTC, six
digits behind the second), and the stored bytes of `meta` and `data`. These are text almost always, and stand there as text;
bytes that are no UTF-8 stand in base64 as `metaBase64` or `dataBase64` instead.
"""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import msgspec

from eventstore.log import StoredEvent

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


class NotAnEvent(ValueError):
    """The line is no stored event."""


class EventLine(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True, gc=False
):
    """One line."""

    position: int
    tenant_id: UUID
    stream_id: UUID
    version: int
    type: str
    schema_version: int
    recorded_at: str
    meta: str | None = None
    meta_base64: bytes | None = None
    data: str | None = None
    data_base64: bytes | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(EventLine).decode


def encode_event_line(event: StoredEvent) -> bytes:
    """The event's line, its line feed included."""
    return _encode(event_line(event)) + b"\n"


def event_line(event: StoredEvent) -> EventLine:
    """What stands in the event's line."""
    meta, meta_base64 = as_text(event.meta)
    data, data_base64 = as_text(event.data)
    return EventLine(
        position=event.position,
        tenant_id=event.tenant_id,
        stream_id=event.stream_id,
        version=event.version,
        type=event.type,
        schema_version=event.schema_version,
        recorded_at=instant_text(event.recorded_at),
        meta=meta,
        meta_base64=meta_base64,
        data=data,
        data_base64=data_base64,
    )


def decode_event_line(line: bytes) -> StoredEvent:
    """The event a line stands for. Raises NotAnEvent."""
    try:
        found = _decode(line)
        return StoredEvent(
            found.position,
            found.tenant_id,
            found.stream_id,
            found.version,
            found.type,
            found.schema_version,
            _instant(found.recorded_at),
            as_bytes(found.meta, found.meta_base64),
            as_bytes(found.data, found.data_base64),
        )
    except (ValueError, msgspec.MsgspecError) as error:
        raise NotAnEvent(str(error)) from error


def instant_text(at: datetime) -> str:
    """The time as lines have it."""
    return at.astimezone(UTC).strftime(_TIME)


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if instant_text(at) != text:
        raise ValueError(f"{text!r} is no time in UTC with six digits behind the second")
    return at


def as_text(content: bytes) -> tuple[str | None, bytes | None]:
    """The bytes as text, or, where they are none, as themselves."""
    try:
        return content.decode(), None
    except UnicodeDecodeError:
        return None, content


def as_bytes(text: str | None, content: bytes | None) -> bytes:
    """The bytes that `as_text` was given. Raises ValueError unless exactly one of the two is there."""
    if (text is None) == (content is None):
        raise ValueError("either the text or its base64 is needed")
    return content if text is None else text.encode()  # type: ignore[return-value]  # one of them is there
