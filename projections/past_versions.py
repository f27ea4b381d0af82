"""Versions of rows that stand no longer, on their way into the history: in the very bytes in which PostgreSQL copies them.

There are many times more of them than of rows. Each is written behind the one before it, most as what has changed since
(projections/row_changes.py).
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast
from uuid import UUID

import msgspec

from projections.row_changes import LINE, fields_kept

PastVersion = tuple[UUID, UUID, int, int, bytes]

COLUMNS = ("tenant_id", "id", "valid_from", "valid_to", "row")

# As PostgreSQL's manual has it under COPY, "Binary Format": a signature, then each row as the number of its fields and
# each field as its length and its bytes; the end is a row of -1 fields.
_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = struct.pack(">h", -1)
_HEAD = struct.Struct(">hi16si16siqiqi")
_LENGTH = struct.Struct(">i")
# While one is filled nothing is moved, and as one it is sent. The first is small, since mostly there are few versions;
# handing on many small ones would cost more than filling them.
_SEGMENT_BYTES_FIRST = 8_192
_SEGMENT_BYTES_MAX = 1_048_576
_GROWTH = 8
# Memory that was given back to the system costs as much to get again as filling it does.
_SPARE_SEGMENTS_MAX = 8

_spare: list[bytearray] = []

_encoder = msgspec.json.Encoder()
_encode, _encode_into = _encoder.encode, _encoder.encode_into


class PastVersions:
    """Of one read model, in the order in which they came to stand no longer."""

    def __init__(self) -> None:
        self._full: list[tuple[bytearray, int]] = []
        self._segment = bytearray()
        self._used = 0
        self._count = 0
        self._scratch = bytearray(LINE)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[PastVersion]:
        for segment, used in self._segments():
            start = 0
            while start < used:
                _, _, tenant_id, _, id, _, valid_from, _, valid_to, length = _HEAD.unpack_from(segment, start)
                start += _HEAD.size + length
                row = bytes(segment[start - length : start])
                yield UUID(bytes=tenant_id), UUID(bytes=id), valid_from, valid_to, row

    def add(
        self, tenant_id: UUID, id: UUID, valid_from: int, valid_to: int, row: Any, following: Any, content: bytes | None
    ) -> None:
        """The row as it stood from one position up to another, where `following` took its place (None: it went).
        `content` is the row's JSON, should it be known."""
        kept = self._content(valid_from, row, following, content)
        length = len(kept)
        start = self._used + _HEAD.size
        if start + length > len(self._segment):
            self._begin_segment(_HEAD.size + length)
            start = _HEAD.size
        _HEAD.pack_into(
            self._segment, self._used, 5, 16, tenant_id.bytes, 16, id.bytes, 8, valid_from, 8, valid_to, length
        )
        self._used = start + length
        self._segment[start : self._used] = kept
        self._count += 1

    async def chunks(self) -> AsyncIterator[bytes]:
        """What to send for `COPY … WITH (FORMAT binary)`, a piece at a time. Once all is sent there is nothing left."""
        yield _SIGNATURE
        segments, self._full, self._used, self._count = self._segments(), [], 0, 0
        self._segment = bytearray()
        for segment, used in segments:
            # asyncpg takes whatever holds bytes, and says so of bytes alone.
            yield cast("bytes", memoryview(segment)[:used])
        yield _END
        _spare.extend(segment for segment, _ in segments if len(segment) == _SEGMENT_BYTES_MAX)
        del _spare[_SPARE_SEGMENTS_MAX:]

    def _content(self, valid_from: int, row: Any, following: Any, whole: bytes | None) -> bytes | bytearray:
        fields = fields_kept(valid_from, row, following)
        if fields is not None:
            _encode_into(fields, self._scratch, len(LINE))
            return self._scratch
        return _encode(row) if whole is None else whole

    def _begin_segment(self, length: int) -> None:
        self._full = self._segments()
        size = min(_SEGMENT_BYTES_MAX, max(_SEGMENT_BYTES_FIRST, len(self._segment) * _GROWTH))
        whole = size == _SEGMENT_BYTES_MAX and length <= size
        self._segment = _spare.pop() if _spare and whole else bytearray(max(size, length))
        self._used = 0

    def _segments(self) -> list[tuple[bytearray, int]]:
        """Each with how much of it is used."""
        return [*self._full, (self._segment, self._used)] if self._used else self._full
