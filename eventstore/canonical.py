"""The one byte encoding of a stored event that is hashed, signed and exported; fixed for ever.

All integers are big-endian. An event is the concatenation of:

    bytes   field
    4       the ASCII letters DCFE
    1       the version of this encoding, 1
    8       position, unsigned
    16      tenant id, as in RFC 9562
    16      stream id, as in RFC 9562
    4       version in the stream, unsigned
    2 + n   type: length n, unsigned, and that many bytes of UTF-8
    2       schema version, unsigned
    8       recorded-at: microseconds since 1970-01-01T00:00:00Z, signed, leap seconds not counted
    4 + n   meta: length n, unsigned, and the stored bytes, untouched
    4 + n   data: length n, unsigned, and the stored bytes, untouched
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from uuid import UUID

from eventstore.log import StoredEvent

_MAGIC = b"DCFE\x01"
_HEAD = struct.Struct(">5sQ16s16sIH")
_MIDDLE = struct.Struct(">HqI")
_LENGTH = struct.Struct(">I")
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class NotCanonical(ValueError):
    """The bytes are not one event in its canonical encoding."""


def encode_canonical(event: StoredEvent) -> bytes:
    """The event's canonical bytes, as this module's description fixes them."""
    type_name = event.type.encode()
    micros = (event.recorded_at - _UNIX_EPOCH) // _MICROSECOND
    return b"".join(
        (
            _HEAD.pack(
                _MAGIC, event.position, event.tenant_id.bytes, event.stream_id.bytes, event.version, len(type_name)
            ),
            type_name,
            _MIDDLE.pack(event.schema_version, micros, len(event.meta)),
            event.meta,
            _LENGTH.pack(len(event.data)),
            event.data,
        )
    )


def decode_canonical(content: bytes) -> StoredEvent:
    """The event those bytes stand for; encoding it again gives the same bytes. Raises NotCanonical."""
    try:
        event = _decode(content)
    except (struct.error, ValueError, OverflowError) as error:
        raise NotCanonical(str(error)) from error
    if encode_canonical(event) != content:
        raise NotCanonical("There are bytes missing or left over.")
    return event


def _decode(content: bytes) -> StoredEvent:
    magic, position, tenant_id, stream_id, version, type_size = _HEAD.unpack_from(content)
    if magic != _MAGIC:
        raise NotCanonical("The first bytes are not DCFE and version 1.")
    middle = _HEAD.size + type_size
    schema_version, micros, meta_size = _MIDDLE.unpack_from(content, middle)
    meta = middle + _MIDDLE.size
    data = meta + meta_size + _LENGTH.size
    return StoredEvent(
        position=position,
        tenant_id=UUID(bytes=tenant_id),
        stream_id=UUID(bytes=stream_id),
        version=version,
        type=content[_HEAD.size : middle].decode(),
        schema_version=schema_version,
        recorded_at=_UNIX_EPOCH + timedelta(microseconds=micros),
        meta=content[meta : meta + meta_size],
        data=content[data:],
    )
