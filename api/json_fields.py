"""What JSON says, however it is written; and JSON in which an object has one field twice: parsers take the first or the last
of them in silence, we take neither."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from api.refusals import BodyMalformed, FieldRepeated
from domain.refusal import FieldError

_Pairs = list[tuple[str, Any]]
_NAME_CHARACTERS_MAX = 64
_PLACE_CHARACTERS_MAX = 200


def canonical(body: bytes) -> bytes:
    """The same JSON with the fields of every object in order and no space between: what says the same becomes the same.

    Numbers stay what they are: 1 and 1.0 are two. Raises FieldRepeated, naming the field, unless every object has each of its
    fields once. What is no JSON stays as it is, and is left to the real decoder. The standard library's scanner does this
    beside it in about a microsecond for the usual request, and leaves no whole number out, however long. Raises BodyMalformed
    for what is too deep to be looked through.
    """
    try:
        return _in_order(body.decode())
    except ValueError:
        return body
    except RecursionError as error:
        raise BodyMalformed("The body is nested too deeply.") from error


def _in_order(text: str) -> bytes:
    try:
        return _ORDERED.encode(_SCANNER.decode(text))
    except _Repeated:
        place = (_place(_IN_PAIRS.decode(text)) or "")[:_PLACE_CHARACTERS_MAX]
    raise FieldRepeated(
        f"The body has the field {place or 'without a name'} more than once.",
        errors=(FieldError(field=place or "body", message="given more than once"),),
    )


class _Repeated(Exception):
    """There is one somewhere."""


class _Object(msgspec.Struct, frozen=True):
    """An object as it was written."""

    pairs: _Pairs


def _look(pairs: _Pairs) -> dict[str, Any]:
    fields = dict(pairs)
    if len(pairs) != len(fields):
        raise _Repeated
    return fields


def _place(value: Any, path: str = "") -> str | None:
    """Where the first repeated field is, as `trigger.settings` or `steps[0].name`; None when there is none below."""
    match value:
        case _Object(pairs=pairs):
            seen: set[str] = set()
            for name, below in pairs:
                at = f"{path}.{name[:_NAME_CHARACTERS_MAX]}" if path else name[:_NAME_CHARACTERS_MAX]
                if name in seen:
                    return at
                seen.add(name)
                if (found := _place(below, at)) is not None:
                    return found
        case list():
            for number, below in enumerate(value):
                if (found := _place(below, f"{path}[{number}]")) is not None:
                    return found
        case _:
            pass
    return None


_ORDERED = msgspec.json.Encoder(order="sorted")
_SCANNER = json.JSONDecoder(object_pairs_hook=_look)
_IN_PAIRS = json.JSONDecoder(object_pairs_hook=_Object)
