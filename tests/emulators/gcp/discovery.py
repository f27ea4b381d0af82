"""Google's discovery documents as law: which routes there are, and what each takes and answers.

They come with google-api-python-client. A request is refused as Google refuses it; an answer of ours that a document does not
know is a bug of the emulator.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import unquote

import msgspec

from tests.emulators.gcp.answers import Refused

VERSIONS = {
    "run": "v2",
    "cloudbuild": "v1",
    "sts": "v1",
    "iamcredentials": "v1",
    "artifactregistry": "v1",
    "cloudscheduler": "v1",
    "container": "v1",
    "secretmanager": "v1",
    "cloudkms": "v1",
    "logging": "v2",
    "cloudresourcemanager": "v1",
    "iam": "v1",
    "storage": "v1",
}
_COMMON = {"alt", "fields", "key", "prettyPrint", "quotaUser", "$.xgafv", "$alt", "$prettyPrint", "upload_protocol"}
_FORMATS = {
    "int64": r"-?\d+",
    "uint64": r"\d+",
    "google-duration": r"-?\d+(\.\d{1,9})?s",
    "google-datetime": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)",
    "byte": r"[A-Za-z0-9+/_-]*={0,2}",
}


class Matched(msgspec.Struct, frozen=True):
    """A method of a document, and what its path said."""

    service: str
    method: dict[str, Any]
    path_parameters: dict[str, str]

    @property
    def id(self) -> str:
        return str(self.method["id"])


@cache
def document(service: str) -> dict[str, Any]:
    """The service's document. Raises KeyError for one that is not emulated."""
    name = f"{service}.{VERSIONS[service]}.json"
    text = (files("googleapiclient") / "discovery_cache" / "documents" / name).read_text()
    read: dict[str, Any] = json.loads(text)
    return read


def match(service: str, verb: str, raw_path: str) -> Matched | None:
    """The method that answers a path, which is still encoded; None when the service has none."""
    for pattern, method in _routes(service):
        if method["httpMethod"] == verb and (found := pattern.fullmatch(raw_path)):
            named = {_spelled(name): unquote(value) for name, value in found.groupdict().items()}
            return Matched(service, method, named)
    return None


def check_request(matched: Matched, query: Mapping[str, str], body: Any) -> None:
    """Raise Refused for what the document does not allow."""
    known = matched.method.get("parameters", {})
    for name, value in query.items():
        if name in _COMMON:
            continue
        if name not in known or known[name]["location"] != "query":
            raise Refused(400, f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter.')
        _check(matched.service, _from_query(known[name], value), known[name], name)
    wanted = matched.method.get("request")
    if wanted is None:
        if body not in (None, {}):
            raise Refused(400, "Invalid JSON payload received. The method takes no body.")
        return
    required = matched.method["httpMethod"] == "POST"
    _check(matched.service, {} if body is None else body, wanted, "", required=required)


def check_answer(matched: Matched, answer: Any) -> None:
    """Raise AssertionError for an answer that the document does not know."""
    wanted = matched.method.get("response")
    if wanted is None:
        return
    try:
        _check(matched.service, answer, wanted, "")
    except Refused as refused:
        raise AssertionError(f"the emulator's answer to {matched.id} is none of Google's: {refused}") from refused


@cache
def _routes(service: str) -> tuple[tuple[re.Pattern[str], dict[str, Any]], ...]:
    read = document(service)
    base = f"/{read['servicePath']}"
    return tuple((_pattern(base + method["path"], method), method) for method in _methods(read))


def _methods(resource: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from resource.get("methods", {}).values()
    for below in resource.get("resources", {}).values():
        yield from _methods(below)


def _pattern(path: str, method: Mapping[str, Any]) -> re.Pattern[str]:
    parts = []
    for literal, greedy, name in re.findall(r"([^{]+)|\{(\+?)([\w.]+)\}", path):
        if literal:
            parts.append(re.escape(literal))
            continue
        given = method["parameters"][name].get("pattern", "^.+$" if greedy else "^[^/:]+$")
        parts.append(f"(?P<{name.replace('.', '__')}>{given.removeprefix('^').removesuffix('$')})")
    return re.compile("".join(parts))


def _spelled(name: str) -> str:
    return name.replace("__", ".")


def _from_query(schema: Mapping[str, Any], value: str) -> Any:
    match schema.get("type"):
        case "boolean":
            return {"true": True, "false": False}.get(value, value)
        case "integer":
            return int(value) if value.lstrip("-").isdigit() else value
        case _:
            return value


def _check(service: str, value: Any, schema: Mapping[str, Any], path: str, *, required: bool = False) -> None:
    if "$ref" in schema:
        schema = document(service)["schemas"][schema["$ref"]]
    match schema.get("type", "any"):
        case "object":
            _check_object(service, value, schema, path, required=required)
        case "array":
            _expect(isinstance(value, list), path, value)
            for number, item in enumerate(value):
                _check(service, item, schema["items"], f"{path}[{number}]", required=required)
        case "string":
            _check_string(value, schema, path)
        case "boolean":
            _expect(isinstance(value, bool), path, value)
        case "integer":
            _expect(isinstance(value, int) and not isinstance(value, bool), path, value)
        case "number":
            _expect(isinstance(value, int | float) and not isinstance(value, bool), path, value)
        case _:
            pass


def _check_object(service: str, value: Any, schema: Mapping[str, Any], path: str, *, required: bool) -> None:
    _expect(isinstance(value, dict), path, value)
    properties, others = schema.get("properties", {}), schema.get("additionalProperties")
    for name, item in value.items():
        below = f"{path}.{name}" if path else name
        if name in properties:
            _check(service, item, properties[name], below, required=required)
        elif others is not None:
            _check(service, item, others, below, required=required)
        else:
            message = f"Invalid JSON payload received. Unknown name \"{name}\" at '{path}': Cannot find field."
            raise Refused(400, message, field=below)
    for name, wanted in properties.items():
        if required and name not in value and str(wanted.get("description", "")).startswith("Required."):
            raise Refused(400, f"The request was missing the required field {path}.{name}.", field=f"{path}.{name}")


def _check_string(value: Any, schema: Mapping[str, Any], path: str) -> None:
    _expect(isinstance(value, str), path, value)
    if "enum" in schema and value not in schema["enum"]:
        raise Refused(400, f"Invalid value at '{path}' ({schema.get('format', 'TYPE_ENUM')}), \"{value}\"", field=path)
    if (wanted := _FORMATS.get(schema.get("format", ""))) and not re.fullmatch(wanted, value):
        raise Refused(400, f"Invalid value at '{path}' ({schema['format']}), \"{value}\"", field=path)


def _expect(fits: object, path: str, value: Any) -> None:
    if not fits:
        raise Refused(400, f"Invalid value at '{path}': {value!r}", field=path)
