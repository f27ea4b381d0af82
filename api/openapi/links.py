"""What an answer leads to: the operations on the thing that was made, with its ids where they belong."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args, get_origin

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from api.openapi.parameters import camel
from api.operation import Operation

# Where the path calls an id otherwise than the body does.
_IN_PATHS = {"artifactId": "artifact"}


class Links:
    """Knows where the id of each thing is asked for."""

    def __init__(self, declared: Iterable[tuple[HTTPRoute, HTTPRouteHandler, Operation]]) -> None:
        self._targets = [([camel(name) for name in route.path_parameters], target) for route, _, target in declared]

    def add(self, route: HTTPRoute, operation: Operation, responses: dict[str, Any]) -> None:
        """Put links into those of the operation's answers that show something it made."""
        if not operation.writes:
            return
        known = [camel(name) for name in route.path_parameters]
        for status, type in operation.answers.items():
            if status == 200 and 202 in operation.answers:
                continue  # It says what would be made.
            made = _id_of(type)
            # What is changed had its id in the path, and the caller has it.
            if made is not None and _IN_PATHS.get(made, made) not in known:
                links = dict(self._links(type, made, operation, known))
                if links:
                    responses[str(status)]["links"] = links

    def _links(
        self, type: Any, made: str, operation: Operation, known: list[str]
    ) -> Iterable[tuple[str, dict[str, Any]]]:
        for in_path, target in self._targets:
            if _IN_PATHS.get(made, made) in in_path:
                parameters = {name: _where(name, type, operation, known) for name in in_path}
                if all(parameters.values()):
                    yield target.name, {"operationId": target.name, "parameters": parameters}
            elif target is not operation and made in _fields(target.takes) and target.example is not None:
                parameters = {name: _where(name, type, operation, known) for name in in_path}
                if all(parameters.values()):
                    yield (
                        target.name,
                        {
                            "operationId": target.name,
                            **({"parameters": parameters} if parameters else {}),
                            "requestBody": {**target.example, made: f"$response.body#/{made}"},
                        },
                    )


def _where(name: str, type: Any, operation: Operation, known: list[str]) -> str:
    """The expression that gives a path parameter its value; empty when nothing here does. A name may be that of anything."""
    if not name.endswith("Id") and name not in _IN_PATHS.values():
        return ""
    in_bodies = [field for field in _fields(type) if _IN_PATHS.get(field, field) == name]
    if in_bodies:
        return f"$response.body#/{in_bodies[0]}"
    if name in known:
        return f"$request.path.{name}"
    return f"$request.body#/{name}" if name in _fields(operation.takes) else ""


def _id_of(type: Any) -> str | None:
    """The field that tells the thing from others of its kind: the first one. None: it is no such thing."""
    fields = _fields(type)
    return fields[0] if fields and get_origin(type) is None and fields[0].endswith("Id") else None


def _fields(type: Any) -> list[str]:
    members = get_args(type) or (type,)
    first = members[0]
    return list(first.__struct_encode_fields__) if isinstance(first, msgspec.StructMeta) else []
