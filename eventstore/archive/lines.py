"""One event as one line of JSON: the same event again, to the last byte, and readable on the way."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import msgspec

from eventstore.log import StoredEvent


class LineDamaged(Exception):
    """The line is no event."""


class _Line(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`meta` and `data` are the stored bytes as text; what is not UTF-8 stands in base64 instead."""

    position: int
    tenant_id: UUID
    stream_id: UUID
    version: int
    type: str
    schema_version: int
    recorded_at: datetime
    meta: str | None = None
    data: str | None = None
    meta_base64: bytes | None = None
    data_base64: bytes | None = None


_DECODER = msgspec.json.Decoder(_Line)


def encode_line(event: StoredEvent) -> bytes:
    """The event's line, with its end."""
    meta, data = _text(event.meta), _text(event.data)
    line = _Line(
        position=event.position,
        tenant_id=event.tenant_id,
        stream_id=event.stream_id,
        version=event.version,
        type=event.type,
        schema_version=event.schema_version,
        recorded_at=event.recorded_at.astimezone(UTC),
        meta=meta,
        data=data,
        meta_base64=event.meta if meta is None else None,
        data_base64=event.data if data is None else None,
    )
    return msgspec.json.encode(line) + b"\n"


def decode_line(content: bytes) -> StoredEvent:
    """The event of the line. Raises LineDamaged."""
    try:
        line = _DECODER.decode(content)
    except msgspec.MsgspecError as error:
        raise LineDamaged(str(error)) from error
    return StoredEvent(
        line.position,
        line.tenant_id,
        line.stream_id,
        line.version,
        line.type,
        line.schema_version,
        line.recorded_at,
        _bytes(line.meta, line.meta_base64),
        _bytes(line.data, line.data_base64),
    )


def _text(content: bytes) -> str | None:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _bytes(text: str | None, content: bytes | None) -> bytes:
    if (text is None) == (content is None):
        raise LineDamaged("Of the text and the base64 of each part there has to be one.")
    return content if text is None else text.encode()  # type: ignore[return-value]  # one of the two is there
