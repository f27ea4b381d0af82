"""What a row was, told by what has changed since: the history keeps that of most versions, and mends the whole from it.

Of a row's fields an event changes few. So a version that stands no longer is kept as a line of those fields that the
version after it has otherwise, and only now and then whole. A version is asked for as a chain: a whole one, then the
lines of all that came before it, the latest first, back to the one that is wanted.
"""

from __future__ import annotations

from functools import cache
from itertools import compress
from operator import is_not
from typing import Any

import msgspec

# What a line begins with, and no row's JSON holds anywhere: within strings it is written otherwise.
LINE = b"\n"
LINE_CODE = LINE[0]
# One version in about so many is kept whole, or a chain would be as long as the row is old. Which ones depends on the
# event alone, so that every way to make a history makes the same.
WHOLE_ONE_IN = 16

_FRACTION_BITS = 32
# Multiples of the golden ratio fall evenly, whatever the distance between positions.
_GOLDEN = 0x9E37_79B1
_NESTED = "."
# What has fewer is kept as one.
_NESTED_FIELDS_MIN = 8

_Fields = dict[str, msgspec.Raw]

# Of any struct's fields.
_NUMBERS = range(1_000)

_as_tuple = msgspec.structs.astuple
_encode = msgspec.json.Encoder().encode
_fields_of = msgspec.json.Decoder(_Fields).decode


def is_kept_whole(valid_from: int) -> bool:
    """Whether the version that stood from this position on is to be kept whole."""
    return (valid_from * _GOLDEN & ((1 << _FRACTION_BITS) - 1)) < (1 << _FRACTION_BITS) // WHOLE_ONE_IN


def kept(valid_from: int, row: msgspec.Struct, following: msgspec.Struct | None, whole: bytes | None = None) -> bytes:
    """How the history keeps a version that stood from a position on: as a line or, above all when nothing follows it,
    whole. `whole` is its JSON, should it be known."""
    fields = fields_kept(valid_from, row, following)
    if fields is not None:
        return LINE + _encode(fields)
    return _encode(row) if whole is None else whole


def fields_kept(valid_from: int, row: msgspec.Struct, following: msgspec.Struct | None) -> dict[str, Any] | None:
    """The fields of the line that the version is kept as; None: it is kept whole."""
    return None if following is None or is_kept_whole(valid_from) else fields_before(row, following)


def fields_before(row: msgspec.Struct, following: msgspec.Struct) -> dict[str, Any] | None:
    """The fields that the row has otherwise than the version after it, by their names in JSON; those within a field are
    named with it. None: they cannot be told apart so."""
    kind = row.__class__
    names = _names(kind)
    if names is None or following.__class__ is not kind:
        return None
    # Nearly all are the very same object.
    one, other = _as_tuple(row), _as_tuple(following)
    before: dict[str, Any] = {}
    for n in compress(_NUMBERS, map(is_not, one, other)):
        was, became = one[n], other[n]
        # What is equal to Python may be two things in JSON: 1 and true, dicts in another order.
        if was == became and _encode(was) == _encode(became):
            continue
        inner = _inner_names(was.__class__) if was.__class__ is became.__class__ else None
        if inner is None:
            before[names[n]] = was
            continue
        for within, part in _differing(inner, was, became):
            before[f"{names[n]}{_NESTED}{within}"] = part
    return before


def restored(chain: bytes) -> bytes:
    """The JSON of the version that a chain leads to, to the byte. A chain may be a whole version alone."""
    if LINE not in chain:
        return chain
    whole, *lines = chain.split(LINE)
    row = _fields_of(whole)
    for line in lines:
        for path, value in _fields_of(line).items():
            name, _, within = path.partition(_NESTED)
            row[name] = _with(row[name], within, value) if within else value
    return _encode(row)


def _with(field: msgspec.Raw, within: str, value: msgspec.Raw) -> msgspec.Raw:
    inner = _fields_of(field)
    inner[within] = value
    return msgspec.Raw(_encode(inner))


def _differing(names: tuple[str, ...], row: msgspec.Struct, following: msgspec.Struct) -> list[tuple[str, Any]]:
    """The fields of which JSON shows a difference, as the row has them."""
    one, other = _as_tuple(row), _as_tuple(following)
    return [
        (names[n], one[n])
        for n in compress(_NUMBERS, map(is_not, one, other))
        if one[n] != other[n] or _encode(one[n]) != _encode(other[n])
    ]


@cache
def _names(kind: Any) -> tuple[str, ...] | None:
    """What the fields are called in JSON; None of what is no struct, or leaves fields out of it."""
    if not issubclass(kind, msgspec.Struct):
        return None
    config = kind.__struct_config__
    return None if config.omit_defaults or config.array_like else kind.__struct_encode_fields__


@cache
def _inner_names(kind: Any) -> tuple[str, ...] | None:
    """The same of what is told field by field where it is a field itself."""
    names = _names(kind)
    return None if names is None or len(names) < _NESTED_FIELDS_MIN else names
