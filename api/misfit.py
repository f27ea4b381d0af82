"""What msgspec says of a value that does not fit, as whoever sent it can use it: which field, and what would do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import inspect

from api.patterns import described
from domain.refusal import FieldError

_PLACE = re.compile(r" - at `(?:key` in `)?\$([^`]*)`$")
_NAMED = re.compile(r"field `([^`]+)`")
_NO_CHOICE = re.compile(r"Invalid (?:enum )?value (.*)", re.DOTALL)
_PATTERN = re.compile(r"(?<=matching regex ')(.*)(?='$)", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|\[[^\]]*\]")
# What stands in a path for an entry of an object whose names are free.
_SOME_ENTRY = "[...]"
# So many entries are tried to find the one that is meant, and so much of its name is told.
_ENTRIES_TRIED_MAX = 200
_NAME_CHARACTERS_MAX = 64


def misfit(error: msgspec.ValidationError, type: Any, value: Callable[[], Any] | None = None) -> FieldError:
    """The field as the client wrote it (`trigger.type`, `steps[0].name`; empty: the whole), and what is wrong with it.

    `type` is what the value should be; `value` gives it as it came, where entries with free names may be what is wrong.
    """
    text = str(error)
    place = _PLACE.search(text)
    message, path = (text[: place.start()], place[1]) if place else (text, "")
    if value is not None and _SOME_ENTRY in path:
        path = path.replace(_SOME_ENTRY, _entry(path, text, type, value()), 1)
    elif none_of := _NO_CHOICE.fullmatch(message):
        choices = ", ".join(dict.fromkeys(str(choice) for choice in _choices(inspect.type_info(type), path)))
        message = f"{none_of[1]} is none of {choices}" if choices else message
    named = _NAMED.search(message)
    field = f"{path}.{named[1]}" if named else path
    return FieldError(field=field.strip("."), message=_PATTERN.sub(_described, message))


def fields_taken(type: Any, field: str, value: Any) -> str:
    """The fields of the object that a misfit field stands in, as a sentence; "" where they are not known.

    `value` is what came: what its tag says decides between the members of a union.
    """
    *outer, _ = field.split(".")
    place, info = "the body", inspect.type_info(type)
    for step in ("", *outer):
        if step:
            info, value = _member(info, step), value.get(step) if isinstance(value, dict) else None
            place = f"`{step}`"
        info = _struct(info, value)
    match info:
        case inspect.StructType():
            return _listed(place, info)
        case inspect.UnionType(types=types):
            tags = {one.tag_field: None for one in types if isinstance(one, inspect.StructType) and one.tag_field}
            kinds = ", ".join(str(one.tag) for one in types if isinstance(one, inspect.StructType))
            return "".join(f"{_begun(place)} takes `{tag}`, one of {kinds}, and what that one takes." for tag in tags)
        case _:
            return ""


def _member(info: inspect.Type, name: str) -> inspect.Type:
    fields = info.fields if isinstance(info, inspect.StructType) else ()
    return next((field.type for field in fields if field.encode_name == name), inspect.AnyType())


def _struct(info: inspect.Type, value: Any) -> inspect.Type:
    """The object that is meant."""
    while isinstance(info, inspect.Metadata):
        info = info.type
    if not isinstance(info, inspect.UnionType):
        return info
    members = [one for one in (_struct(one, value) for one in info.types) if isinstance(one, inspect.StructType)]
    if len(members) == 1:
        return members[0]
    given = value if isinstance(value, dict) else {}
    meant = [one for one in members if one.tag_field is not None and given.get(one.tag_field) == one.tag]
    return meant[0] if meant else info


def _listed(place: str, struct: inspect.StructType) -> str:
    needed = [field.encode_name for field in struct.fields if field.required]
    if struct.tag_field is not None:
        needed = [struct.tag_field, *needed]
    free = [field.encode_name for field in struct.fields if not field.required]
    parts = [", ".join(needed), f"optionally {', '.join(free)}" if free else ""]
    said = "; ".join(part for part in parts if part)
    return f"{_begun(place)} takes {said or 'no fields'}."


def _begun(place: str) -> str:
    return f"{place[0].upper()}{place[1:]}"


def _described(pattern: re.Match[str]) -> str:
    """The pattern, in which msgspec has doubled every backslash, as the API's description has it."""
    return described(pattern[1].replace("\\\\", "\\"))


def _entry(path: str, text: str, type: Any, value: Any) -> str:
    """Which entry is meant: the first that is told to be wrong in the same words when it is the only one."""
    *outer, last = path.partition(_SOME_ENTRY)[0].strip(".").split(".")
    holder: Any = value
    for step in outer:
        holder = holder.get(step) if isinstance(holder, dict) else None
    entries = holder.get(last) if isinstance(holder, dict) else None
    for name, entry in list(entries.items())[:_ENTRIES_TRIED_MAX] if isinstance(entries, dict) else ():
        holder[last] = {name: entry}
        try:
            msgspec.convert(value, type)
        except msgspec.ValidationError as error:
            if str(error) == text:
                return f".{name[:_NAME_CHARACTERS_MAX]}"
    return _SOME_ENTRY


def _choices(type: inspect.Type, path: str) -> Iterator[object]:
    """What the field at the path may be, where that is one of a few."""
    step = _STEP.match(path)
    rest = path[step.end() :] if step else ""
    match type:
        case inspect.Metadata(type=inner):
            yield from _choices(inner, path)
        case inspect.UnionType(types=types):
            for one in types:
                yield from _choices(one, path)
        case inspect.LiteralType(values=values) if step is None:
            yield from values
        case inspect.ListType(item_type=inner) | inspect.VarTupleType(item_type=inner) if step and not step[1]:
            yield from _choices(inner, rest)
        case inspect.StructType(fields=fields, tag_field=tag_field, tag=tag) if step:
            if step[1] == tag_field and not rest:
                yield tag
            for field in fields:
                if field.encode_name == step[1]:
                    yield from _choices(field.type, rest)
        case _:
            pass
