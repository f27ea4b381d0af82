"""What differs between two versions of a thing, field by field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec


class Change(msgspec.Struct, frozen=True):
    """`path` is a JSON Pointer (RFC 6901) into the thing; null stands for what is not there.

    Lists are compared whole. Secrets are not part of what is compared, and what is sealed stays sealed.
    """

    path: str
    before: Any
    after: Any


def changes(before: Any, after: Any) -> tuple[Change, ...]:
    """The differences between two values as JSON has them, in the order of their paths; None: there is no such value."""
    return tuple(sorted(_changes("", before, after), key=lambda change: change.path))


def _changes(path: str, before: Any, after: Any) -> Iterator[Change]:
    if _may_have_fields(before) and _may_have_fields(after) and (before or after):
        ours, theirs = before or {}, after or {}
        for name in {**ours, **theirs}:
            yield from _changes(f"{path}/{_escaped(name)}", ours.get(name), theirs.get(name))
    elif before != after:
        yield Change(path, before, after)


def _may_have_fields(value: Any) -> bool:
    return value is None or isinstance(value, Mapping)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
