"""Values on their way to the database's functions, column by column.

A column goes as the text of an array. Given a list, the driver asks of every element whether it is a list itself, which
costs ten times as much as all the rest, and bytes it would copy one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

import msgspec

_UUID_BYTES = 16


def parameters(types: Sequence[str]) -> str:
    """The parameters of a call that takes values of these types, where columns go as text."""
    return ", ".join(
        f"${n}::text::{type}" if type.endswith("[]") and type != "text[]" else f"${n}"
        for n, type in enumerate(types, start=1)
    )


def numbers(values: Sequence[int | None]) -> str:
    """As the text of an array of integers."""
    # JSON's null is as good as SQL's there.
    return "{" + msgspec.json.encode(values)[1:-1].decode() + "}"


def uuids(values: Iterable[int]) -> str:
    """As the text of an array of UUIDs, given as their integers: those are hashed and compared much faster."""
    together = b"".join([value.to_bytes(_UUID_BYTES, "big") for value in values])
    return "{" + together.hex(",", _UUID_BYTES) + "}"


def uuids_or_nulls(values: Sequence[UUID | None]) -> str:
    """As the text of an array of UUIDs, some of which may be missing."""
    # An array may hold its elements within quotes, as JSON does.
    return "{" + msgspec.json.encode(values)[1:-1].decode() + "}"


def flags(values: Iterable[bool]) -> str:
    """As the text of an array of booleans."""
    return "{" + ",".join(["t" if value else "f" for value in values]) + "}"


class Contents:
    """Bytes one after another, each known by where it begins, counted from 1, and how many bytes it has."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._end = 1

    def put(self, first: bytes, second: bytes) -> int:
        """Add both, the second behind the first, and say where they begin."""
        begin = self._end
        self._parts += (first, second)
        self._end = begin + len(first) + len(second)
        return begin

    def joined(self) -> bytes:
        return b"".join(self._parts)
