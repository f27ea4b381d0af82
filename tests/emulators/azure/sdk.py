"""What Microsoft's SDKs say of requests: verb, path, version, query and bounds, as the functions have them that make these."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import msgspec

_VERSION = "api-version"
# Said of a part of a path that may have slashes in it, such as a scope.
_WHOLE = "skip_quote"
# Without it for what is not within another resource.
_PARENT = "parent_resource_path"


class Parameter(msgspec.Struct, frozen=True):
    """One of a query. `kind` is the SDK's word for its type, `bounds` what it knows of its value."""

    kind: str
    bounds: Mapping[str, Any]
    required: bool


class Route(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One operation. `version` is empty where any will do; `takes` and `answers` are models, or None without any."""

    id: str
    method: str
    path: str
    version: str = ""
    takes: Any = None
    answers: Any = None
    bounds: Mapping[str, Mapping[str, Any]] = {}
    query: Mapping[str, Parameter] = {}

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        def part(found: re.Match[str]) -> str:
            name = found[1]
            if name == _PARENT:
                return f"(?:/(?P<{name}>.*?))?"
            return f"/(?P<{name}>.+?)" if self.bounds.get(name, {}).get(_WHOLE) else f"/(?P<{name}>[^/]+)"

        # Resource Manager does not tell cases apart.
        return re.compile(re.sub(r"/\\\{(\w+)\\\}", part, re.escape(self.path)), re.IGNORECASE)


class _Recording:
    """A serializer of the SDK that keeps what it is told of each part of a request; the SDK itself leaves that to Azure."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.bounds = dict[str, Mapping[str, Any]]()
        self.query_kinds = dict[str, tuple[str, Mapping[str, Any]]]()

    def url(self, name: str, data: Any, kind: str, **bounds: Any) -> Any:
        self.bounds[name] = bounds
        return data

    def query(self, name: str, data: Any, kind: str, **bounds: Any) -> Any:
        self.query_kinds[name] = (kind, bounds)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def of(module: Any, name: str, id: str, takes: Any = None, answers: Any = None) -> Route:
    """The route of which the SDK makes requests by this function."""
    request, real = getattr(module, name), module._SERIALIZER
    parameters = inspect.signature(request).parameters
    names = [name for name, one in parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD]
    asked = {name: one for name, one in parameters.items() if one.kind is one.KEYWORD_ONLY}
    module._SERIALIZER = recording = _Recording(real)
    try:
        made = request(**{name: f"{{{name}}}" for name in names}, **{name: name for name in asked})
    finally:
        module._SERIALIZER = real
    path, _, query = made.url.partition("?")
    wires = dict(pair.split("=", 1) for pair in query.split("&"))
    version = wires.pop(_VERSION)
    return Route(
        id=id,
        method=made.method,
        path=path,
        version=version,
        takes=takes,
        answers=answers,
        bounds=recording.bounds,
        query={
            wire: Parameter(*recording.query_kinds[name], required=asked[name].default is inspect.Parameter.empty)
            for wire, name in wires.items()
        },
    )
