"""Microsoft's SDK models as law: which fields there are, of which types, with which values, and which are Azure's own.

The models of some packages say so by their annotations, those of others by maps beside them. Both leave enumerations open in
Python; here they are closed.
"""

from __future__ import annotations

import enum
import re
import sys
import types
import typing
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

# `iso-8601` and the like are only what a text means.
_SIMPLE: Mapping[Any, tuple[type, ...]] = {
    str: (str,),
    int: (int,),
    float: (int, float),
    bool: (bool,),
    datetime: (str,),
}
_NAMED: Mapping[str, type] = {"str": str, "int": int, "bool": bool, "float": float, "iso-8601": datetime}


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One field as it is on the wire. `bounds` are the model's rules: minimum, maximum, pattern and lengths."""

    hint: Any
    required: bool = False
    read_only: bool = False
    bounds: Mapping[str, Any] = {}


class Tree(msgspec.Struct, frozen=True):
    """The fields of an object that has no model of its own."""

    fields: Mapping[str, Field]


def page_of(model: Any) -> Tree:
    """The form of an answer that lists these."""
    return Tree({"value": Field(hint=list[model], required=True), "nextLink": Field(hint=str)})


def misfits(value: Any, model: Any, *, answer: bool = False) -> list[str]:
    """What of the value is not as the model has it; in an answer there may be what is Azure's own to say."""
    return list(_looked_at(value, model, "", answer))


def _looked_at(value: Any, hint: Any, place: str, answer: bool) -> typing.Iterator[str]:
    origin, inner = get_origin(hint), get_args(hint)
    if isinstance(hint, Tree) or _is_model(hint):
        yield from _object(value, hint, place, answer)
    elif origin in (Union, types.UnionType):
        yield from _union(value, inner, place, answer)
    elif origin is list:
        if not isinstance(value, list):
            yield f"{place} must be a list"
            return
        for number, item in enumerate(value):
            yield from _looked_at(item, inner[0], f"{place}[{number}]", answer)
    elif origin is dict:
        if not isinstance(value, dict):
            yield f"{place} must be an object"
            return
        for name, item in value.items():
            yield from _looked_at(item, inner[1], f"{place}.{name}", answer)
    elif isinstance(hint, type) and issubclass(hint, enum.Enum):
        known = [member.value for member in hint]
        if value not in known:
            yield f"{place} must be one of {', '.join(known)}, and is {value!r}"
    elif hint in _SIMPLE and not _is_simple(value, hint):
        yield f"{place} must be of type {hint.__name__}, and is {value!r}"


def _is_simple(value: Any, hint: Any) -> bool:
    return isinstance(value, _SIMPLE[hint]) and (hint is bool or not isinstance(value, bool))


def _union(value: Any, choices: tuple[Any, ...], place: str, answer: bool) -> typing.Iterator[str]:
    """`str` beside an enumeration only means that there may be more one day."""
    closed = [one for one in choices if isinstance(one, type) and issubclass(one, enum.Enum)]
    rest = closed or [one for one in choices if one is not types.NoneType]
    found = [list(_looked_at(value, one, place, answer)) for one in rest]
    if value is None and types.NoneType in choices:
        return
    if all(found):
        yield from found[0]


def _object(value: Any, hint: Any, place: str, answer: bool) -> typing.Iterator[str]:
    if not isinstance(value, dict):
        yield f"{place or 'the body'} must be an object"
        return
    if chosen := getattr(hint, "_subtype_map", {}).get("type"):
        if value.get("type") not in chosen:
            yield f"{place}.type must be one of {', '.join(chosen)}"
            return
        hint = getattr(sys.modules[hint.__module__], chosen[value["type"]])
    fields = hint.fields if isinstance(hint, Tree) else fields_of(hint)
    for name in value.keys() - fields.keys():
        yield f"{place}.{name} is not known"
    for name, field in fields.items():
        if name not in value:
            if field.required and not (answer and field.read_only):
                yield f"{place}.{name} is missing"
            continue
        if field.read_only and not answer:
            yield f"{place}.{name} is Azure's to say"
        yield from _looked_at(value[name], field.hint, f"{place}.{name}", answer)
        yield from beyond(value[name], field.bounds, f"{place}.{name}")


def beyond(value: Any, bounds: Mapping[str, Any], place: str) -> typing.Iterator[str]:
    """What of the value is beyond the bounds that the SDK knows: of numbers, of lengths, a pattern."""
    if isinstance(value, int | float) and not bounds.get("minimum", value) <= value <= bounds.get("maximum", value):
        yield f"{place} must be from {bounds['minimum']} to {bounds['maximum']}"
    if isinstance(value, str):
        if not bounds.get("min_length", 0) <= len(value) <= bounds.get("max_length", len(value)):
            yield f"{place} has the wrong length"
        if "pattern" in bounds and not re.search(bounds["pattern"], value):
            yield f"{place} must match {bounds['pattern']}"


@cache
def _is_model(hint: Any) -> bool:
    if not isinstance(hint, type):
        return False
    # Each package brings a class of its own that all its models have in common.
    return hasattr(hint, "_attribute_map") or any(one.__module__.endswith(".model_base") for one in hint.__mro__)


@cache
def fields_of(model: Any) -> Mapping[str, Field]:
    """A model's fields by their names on the wire."""
    return _mapped(model) if hasattr(model, "_attribute_map") else _annotated(model)


def _annotated(model: Any) -> dict[str, Field]:
    model()  # It works its own fields out when one is made first.
    hints = get_type_hints(model, localns={"_models": sys.modules[model.__module__.rpartition(".")[0]]})
    found = {}
    for name, described in model._attr_to_rest_field.items():
        hint = hints[name]
        optional = get_origin(hint) in (Union, types.UnionType) and types.NoneType in get_args(hint)
        read_only = described._visibility == ["read"]
        found[described._rest_name] = Field(hint=hint, required=not optional, read_only=read_only)
    return found


def _mapped(model: Any) -> dict[str, Field]:
    models = sys.modules[model.__module__].__dict__
    hints = get_type_hints(model.__init__, localns={"_models": sys.modules[model.__module__.rpartition(".")[0]]})
    nested: dict[str, dict[str, Field]] = {}
    found: dict[str, Field] = {}
    for name, described in model._attribute_map.items():
        rules = model._validation.get(name, {})
        field = Field(
            hint=_closed(hints.get(name)) or _hint(described["type"], models),
            required=bool(rules.get("required")),
            read_only=bool(rules.get("readonly")),
            bounds=rules,
        )
        outer, _, inner = described["key"].partition(".")
        if inner:
            nested.setdefault(outer, {})[inner] = field
        else:
            found[outer] = field
    return found | {outer: _outer(fields) for outer, fields in nested.items()}


def _outer(fields: Mapping[str, Field]) -> Field:
    """Without it, what it must hold would be missing."""
    return Field(hint=Tree(fields), required=any(one.required and not one.read_only for one in fields.values()))


def _closed(hint: Any) -> Any:
    """The enumeration in `Optional[Union[str, Enumeration]]`."""
    return next((one for one in get_args(hint) if isinstance(one, type) and issubclass(one, enum.Enum)), None)


def _hint(kind: str, models: Mapping[str, Any]) -> Any:
    if kind.startswith("["):
        return list[_hint(kind[1:-1], models)]  # type: ignore[misc]
    if kind.startswith("{"):
        return dict[str, _hint(kind[1:-1], models)]  # type: ignore[misc]
    return _NAMED.get(kind) or models.get(kind, Any)
