"""dcf.yaml: what a folder's function is called and how it is deployed. Read without tags or aliases, strictly."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from api.misfit import misfit
from cli import exits
from cli.trouble import Trouble

FILE_NAME = "dcf.yaml"
BYTES_MAX = 64 * 1024
DEPTH_MAX = 10

_UNKNOWN = re.compile(r"unknown field `([^`]+)`")
_EXAMPLE = "project: shop, name: hello, trigger: http, runtime: 3.11.0, access: public, provider: local"
# Under these a number is a number; everywhere else what stands there is text, so that `3.10` and `yes` stay as written.
_TYPED = ("settings", "target")


class Trigger(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    settings: dict[str, Any] = msgspec.field(default_factory=dict)


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is left out keeps the value the function has, or gets the service's default."""

    project: str | None = None
    name: str | None = None
    description: str | None = None
    trigger: Trigger | str | None = None
    runtime: str | None = None
    access: Literal["private", "public"] | None = None
    environment: dict[str, str] | None = None
    provider: Literal["local", "aws", "azure", "gcp"] | None = None
    target: dict[str, Any] | None = None

    def authored(self) -> dict[str, Any]:
        """The fields of the function's record that are given, as the API names them."""
        trigger = self.trigger
        if isinstance(trigger, str):
            trigger = Trigger(type=trigger)
        given = {
            "description": self.description,
            "trigger": None if trigger is None else {"type": trigger.type, "settings": trigger.settings},
            "runtime": self.runtime,
            "access": self.access,
            "environment": self.environment,
            "provider": self.provider,
        }
        return {name: value for name, value in given.items() if value is not None}


def read_manifest(folder: Path) -> Manifest | None:
    """The folder's dcf.yaml, None when it has none. Raises Trouble that names the line or the field."""
    path = folder / FILE_NAME
    try:
        with path.open("rb") as file:
            content = file.read(BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise _trouble(path, problem.strerror or "it cannot be read") from problem
    if len(content) > BYTES_MAX:
        raise _trouble(path, f"it has more than {BYTES_MAX} bytes")
    try:
        return _manifest(path, _document(content.decode("utf-8-sig")))
    except UnicodeDecodeError as problem:
        raise _trouble(path, "it is not UTF-8") from problem
    except yaml.YAMLError as problem:
        raise _trouble(path, _where(problem)) from problem
    except ValueError as problem:
        raise _trouble(path, str(problem)) from problem


def _manifest(path: Path, document: Any) -> Manifest:
    try:
        return msgspec.convert({} if document is None else document, Manifest)
    except msgspec.ValidationError as problem:
        raise _trouble(path, _said(problem)) from problem


def _said(problem: msgspec.ValidationError) -> str:
    text = str(problem)
    if unknown := _UNKNOWN.search(text):
        known = [field.name for field in msgspec.structs.fields(Manifest)]
        near = difflib.get_close_matches(unknown[1], known, n=1)
        meant = f"did you mean `{near[0]}`?" if near else f"it knows {', '.join(known)}"
        return f"`{unknown[1]}` is not a field of it; {meant}"
    found = misfit(problem, Manifest)
    return f"`{found.field}`: {found.message}" if found.field else found.message


def _trouble(path: Path, why: str) -> Trouble:
    return Trouble(
        f"{path}: {why.removesuffix('?')}{'?' if why.endswith('?') else '.'}",
        then=f"mend it; an example: {_EXAMPLE}",
        exit_code=exits.USAGE,
    )


def _document(text: str) -> Any:
    _check_shape(text)
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    return None if node is None else _value(node, typed=False)


def _check_shape(text: str) -> None:
    """Look at the parts one by one, before anything is built of them."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ValueError(f"anchors and aliases are not read{_line(event.start_mark)}")
        if getattr(event, "tag", None) is not None:
            raise ValueError(f"tags are not read{_line(event.start_mark)}")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEPTH_MAX:
            raise ValueError(f"it is deeper than {DEPTH_MAX} levels")


def _value(node: yaml.Node, *, typed: bool) -> Any:
    match node:
        case yaml.MappingNode():
            found: dict[str, Any] = {}
            for key_node, value_node in node.value:
                key = _value(key_node, typed=False)
                if not isinstance(key, str) or key in found:
                    raise ValueError(f"a key is not text or stands twice{_line(key_node.start_mark)}")
                found[key] = _value(value_node, typed=typed or key in _TYPED)
            return found
        case yaml.SequenceNode():
            return [_value(item, typed=typed) for item in node.value]
        case _:
            return _scalar(node, typed=typed)


def _scalar(node: yaml.Node, *, typed: bool) -> Any:
    if node.tag == "tag:yaml.org,2002:null":
        return None
    match node.tag, typed:
        case "tag:yaml.org,2002:int", True:
            return int(node.value)
        case "tag:yaml.org,2002:bool", True:
            return node.value.lower() in ("true", "yes", "on")
        case _:
            return node.value


def _line(mark: Any) -> str:
    return f" (line {mark.line + 1})" if mark else ""


def _where(problem: yaml.YAMLError) -> str:
    mark = getattr(problem, "problem_mark", None)
    said = getattr(problem, "problem", None) or "it is not YAML"
    return f"line {mark.line + 1}: {said}" if mark else str(said)
