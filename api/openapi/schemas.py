"""The JSON Schema of everything that is taken or answered, made from the types themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, cast, get_args

import msgspec
from msgspec import NODEFAULT, UNSET
from msgspec.inspect import (
    AnyType,
    BoolType,
    BytesType,
    CustomType,
    DateTimeType,
    DictType,
    Field,
    FloatType,
    IntType,
    ListType,
    LiteralType,
    Metadata,
    NoneType,
    StrType,
    StructType,
    TupleType,
    Type,
    UnionType,
    UUIDType,
    VarTupleType,
    type_info,
)

from api.functions import TriggerRequest
from api.listing import Listed
from api.openapi.names import ENUMERATIONS, UNIONS, values_of
from api.patterns import described
from domain.release import Trigger
from domain.trigger import TRIGGER_TYPES
from eventstore.meta import Actor, ActorType

Schema = dict[str, Any]

_ENUMERATION_OF = {frozenset(values_of(type)): name for name, type in ENUMERATIONS.items()}
_UNION_OF = {frozenset(get_args(type)): name for name, type in UNIONS.items()}
# Whose id an actor's is; the service's own parts go by their names.
_KNOWN_BY_ID: tuple[ActorType, ...] = ("person", "key", "operator")


class ShapeUnclear(Exception):
    """Two types have one name, or one type stands in requests and in answers, where its defaults mean different things."""


class Schemas:
    """Makes schemas, and keeps those that have a name.

    What is answered has all of its fields, defaults or not; what is taken may leave out those with a default.
    """

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}
        self._made_of: dict[str, tuple[Any, bool]] = {}

    def taken(self, type: Any) -> Schema:
        """The schema of a request's body or parameter."""
        return self._schema(type_info(type), answered=False)

    def answered(self, type: Any) -> Schema:
        """The schema of an answer's body."""
        return self._schema(type_info(type), answered=True)

    def _schema(self, type: Type, *, answered: bool) -> Schema:
        match type:
            case Metadata(type=inner, extra_json_schema=extra):
                said = extra or {}
                return said if "anyOf" in said else {**self._schema(inner, answered=answered), **said}
            case StructType(cls=cls) if cls is Trigger or cls is TriggerRequest:
                return self._trigger(answered=answered)
            case StructType(cls=cls) if cls is Actor:
                return self._actor()
            case StructType():
                return self._struct(type, answered=answered)
            case UnionType():
                return self._union(type, answered=answered)
            case ListType(item_type=item) | VarTupleType(item_type=item):
                return {"type": "array", "items": self._schema(item, answered=answered), **_lengths(type, "Items")}
            case TupleType(item_types=items):
                # All of one type, so that it can be said without `prefixItems`, which few programs understand.
                return {
                    "type": "array",
                    "items": self._schema(items[0], answered=answered),
                    "minItems": len(items),
                    "maxItems": len(items),
                }
            case DictType(key_type=key, value_type=value):
                return {"type": "object", **self._entries(key, value, answered=answered)}
            case LiteralType(values=values):
                return self._enumeration(values)
            case _:
                return _scalar(type)

    def _entries(self, key: Type, value: Type, *, answered: bool) -> Schema:
        names = {"propertyNames": self._schema(key, answered=answered)} if isinstance(key, LiteralType) else {}
        if isinstance(value, AnyType | CustomType):
            return {"additionalProperties": True, **names}
        return {"additionalProperties": self._schema(value, answered=answered), **names}

    def _enumeration(self, values: Iterable[Any]) -> Schema:
        found = frozenset(values)
        name = _ENUMERATION_OF.get(found)
        if name is None:
            return {"type": "string", "enum": sorted(found)}
        self.components.setdefault(name, {"type": "string", "enum": list(values_of(ENUMERATIONS[name]))})
        return _reference(name)

    def _union(self, union: UnionType, *, answered: bool) -> Schema:
        members = [type for type in union.types if not isinstance(type, NoneType)]
        if len(members) == 1:
            schema = self._schema(members[0], answered=answered)
        else:
            schema = self._alternatives(members, answered=answered)
        return {"anyOf": [schema, {"type": "null"}]} if len(members) < len(union.types) else schema

    def _alternatives(self, members: list[Type], *, answered: bool) -> Schema:
        if all(isinstance(type, LiteralType) for type in members):
            return self._enumeration(value for type in members for value in cast("LiteralType", type).values)
        structs = [type for type in members if isinstance(type, StructType)]
        if len(structs) < len(members):
            return {"anyOf": [self._schema(type, answered=answered) for type in members]}
        tagged = {str(type.tag): self._schema(type, answered=answered) for type in structs}
        union = _told_apart_by(structs[0].tag_field or "", tagged)
        name = _UNION_OF.get(frozenset(type.cls for type in structs))
        if name is None:
            return union
        self.components.setdefault(name, union)
        return _reference(name)

    def _struct(self, type: StructType, *, answered: bool) -> Schema:
        name = _name(type.cls)
        known = self._made_of.setdefault(name, (type.cls, answered))
        if known[0] is not type.cls and known[0] != type.cls:
            raise ShapeUnclear(f"{type.cls} and {known[0]} have one name; give one of them another.")
        if known[1] is not answered and any(not field.required for field in type.fields):
            raise ShapeUnclear(f"{name} is taken and answered, and has defaults; make a type for each.")
        if name not in self.components:
            self.components[name] = {}  # Its place in order, before what it is made of.
            self.components[name] = self._object(type, answered=answered)
        return _reference(name)

    def _object(self, type: StructType, *, answered: bool) -> Schema:
        tag = {type.tag_field: {"type": "string", "const": type.tag}} if type.tag_field else {}
        always = answered and not _plain(type.cls).__struct_config__.omit_defaults
        properties = {field.encode_name: self._field(field, answered=answered) for field in type.fields}
        required = [*tag, *(field.encode_name for field in type.fields if field.required or always)]
        return {
            **_described(type.cls),
            "type": "object",
            "properties": {**tag, **properties},
            **({"required": required} if required else {}),
            **({"additionalProperties": False} if type.forbid_unknown_fields else {}),
        }

    def _field(self, field: Field, *, answered: bool) -> Schema:
        schema = self._schema(field.type, answered=answered)
        default = _default(field)
        return schema if answered or default is NODEFAULT else {**schema, "default": default}

    def _trigger(self, *, answered: bool) -> Schema:
        """One form for each entry of the catalogue, so that settings have the fields of their type."""
        suffix = "" if answered else "Request"
        name = f"Trigger{suffix}"
        if name not in self.components:
            self.components[name] = {}
            members: dict[str, Schema] = {}
            for entry in TRIGGER_TYPES:
                # What is answered was checked as a request, and is given back as it was sent.
                settings = self._schema(type_info(entry.settings), answered=False)
                needed = self.components[entry.settings.__name__].get("required", [])
                member = f"{entry.name.capitalize()}Trigger{suffix}"
                self.components[member] = {
                    "description": f"{entry.title}.",
                    "type": "object",
                    "properties": {"type": {"type": "string", "const": entry.name}, "settings": settings},
                    "required": ["type", "settings"] if answered or needed else ["type"],
                    **({} if answered else {"additionalProperties": False}),
                }
                members[entry.name] = _reference(member)
            self.components[name] = _told_apart_by("type", members)
        return _reference(name)

    def _actor(self) -> Schema:
        """One form for each kind of actor, so that it is clear what the id is the id of."""
        if "Actor" not in self.components:
            self.components["Actor"] = {}
            members: dict[str, Schema] = {}
            for kind in get_args(ActorType):
                by_id = kind in _KNOWN_BY_ID
                self.components[f"{kind.capitalize()}Actor"] = {
                    "description": f"A {kind}, by its id." if by_id else f"The service's own {kind}, by its name.",
                    "type": "object",
                    "properties": {
                        "type": {"type": "string", "const": kind},
                        "id": {"type": "string", "format": "uuid"} if by_id else {"type": "string"},
                    },
                    "required": ["type", "id"],
                }
                members[kind] = _reference(f"{kind.capitalize()}Actor")
            self.components["Actor"] = _told_apart_by("type", members)
        return _reference("Actor")


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _told_apart_by(field: str, members: dict[str, Schema]) -> Schema:
    mapping = {tag: schema["$ref"] for tag, schema in members.items()}
    return {"oneOf": list(members.values()), "discriminator": {"propertyName": field, "mapping": mapping}}


def _name(cls: Any) -> str:
    """A page of a list is named by what it lists."""
    if getattr(cls, "__origin__", None) is Listed:
        return f"{get_args(cls)[0].__name__}List"
    return str(cls.__name__)


def _plain(cls: Any) -> Any:
    """The class itself, where the type is a generic one of something."""
    return getattr(cls, "__origin__", cls)


def _described(cls: Any) -> Schema:
    own = _plain(cls).__dict__.get("__doc__")
    return {"description": " ".join(inspect.cleandoc(own).split("\n"))} if own else {}


def _default(field: Field) -> Any:
    """The default as JSON; NODEFAULT when there is none to speak of."""
    value = field.default if field.default_factory is NODEFAULT else field.default_factory()
    if value in (NODEFAULT, UNSET) or isinstance(value, msgspec.Struct):
        return NODEFAULT
    return msgspec.to_builtins(value)


def _scalar(type: Type) -> Schema:
    match type:
        case StrType(pattern=pattern):
            return {
                "type": "string",
                **_lengths(type, "Length"),
                **({"pattern": described(pattern)} if pattern else {}),
            }
        case IntType():
            return {"type": "integer", **_bounds(type)}
        case FloatType():
            return {"type": "number", **_bounds(type)}
        case BytesType():
            return {"type": "string", "contentEncoding": "base64"}
        case BoolType():
            return {"type": "boolean"}
        case UUIDType():
            return {"type": "string", "format": "uuid"}
        case DateTimeType():
            return {"type": "string", "format": "date-time"}
        case NoneType():
            return {"type": "null"}
        case AnyType() | CustomType():
            return {"description": "Any JSON value."}
        case _:
            raise ShapeUnclear(f"There is no schema for {type}.")


def _lengths(type: Any, of: str) -> Schema:
    given = {f"min{of}": type.min_length, f"max{of}": type.max_length}
    return {name: value for name, value in given.items() if value is not None}


def _bounds(type: Any) -> Schema:
    given = {"minimum": type.ge, "maximum": type.le, "exclusiveMinimum": type.gt, "exclusiveMaximum": type.lt}
    return {name: value for name, value in given.items() if value is not None}
