"""Values on their way to the database's functions, column by column.

A column goes as the text of an array. Given a list, the driver asks of every element whether it is a list itself, which
costs four times as much as all the rest, and bytes it would copy one by one.
"""

from __future__ import annotations

from collections.abc import Iterable


def numbers(values: Iterable[int | None]) -> str:
    """As the text of an array of integers."""
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


def counts(values: Iterable[int]) -> str:
    """As `numbers`, none of which is missing."""
    return "{" + ",".join(map(str, values)) + "}"


def uuids(values: Iterable[int]) -> str:
    """As the text of an array of UUIDs, given as their integers: those are hashed and compared much faster."""
    return "{" + ",".join([f"{value:032x}" for value in values]) + "}"


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
