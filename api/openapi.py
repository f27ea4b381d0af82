"""The API described to programs: OpenAPI 3.1, made from what the routes themselves declare."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from api.answer import Answer, encoded
from api.errors import Problem
from api.operation import Operation

_REFERENCE = "#/components/schemas/{name}"
_STATUS_TEXTS = {
    200: "Done.",
    201: "Created.",
    202: "Accepted; it goes on after the answer.",
    304: "Not changed since the ETag in If-None-Match.",
    400: "The request cannot be read.",
    401: "A credential is needed.",
    403: "The caller may not do this.",
    404: "There is no such thing, or it belongs to another tenant.",
    409: "The request does not fit the present state.",
    412: "Changed since the ETag in If-Match.",
    413: "The body is too large.",
    415: "The body has a media type this does not take.",
    422: "The request asks for something that cannot be.",
    429: "Too much is waiting; Retry-After says when to come back.",
    503: "Not possible at the moment; Retry-After says when to come back.",
}
_TEXT = {"type": "string"}
# Each event's data is an item of the list that the same address answers as JSON.
_STREAM = {"text/event-stream": {"schema": _TEXT}}


def _header(name: str, description: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema or _TEXT}


_KEY_SCHEMA = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"}
_HEADERS = {
    "IdempotencyKey": _header("Idempotency-Key", "The same key and request again get the first answer.", _KEY_SCHEMA),
    "Prefer": _header("Prefer", "`respond-async` answers before the read models have seen the write."),
    "IfMatch": _header("If-Match", "Only if the thing still has this ETag."),
    "IfNoneMatch": _header("If-None-Match", "304 if the thing still has this ETag."),
    "IfPosition": _header("If-Position", "Wait until what is read is at least as new as this Event-Position."),
    "LastEventId": _header("Last-Event-ID", "For a stream: go on after this position."),
    "RequestId": _header("X-Request-Id", "The caller's own name for the request; it comes back in the answer."),
}
_ANSWER_HEADERS = {
    "ETag": {"description": "The version of the thing, for If-Match and If-None-Match.", "schema": _TEXT},
    "Event-Position": {"description": "The position of the log this write reached, for If-Position.", "schema": _TEXT},
    "Location": {"description": "Where the thing that was made is found.", "schema": _TEXT},
    "Retry-After": {"description": "Seconds to wait before asking again.", "schema": {"type": "integer"}},
    "X-Request-Id": {"description": "The request's name: the caller's own, or one made for it.", "schema": _TEXT},
}

_DESCRIBE = Operation(
    name="getOpenApi",
    permission="public",
    summary="This description",
    tag="Description",
    answers={200: dict[str, Any]},
)


@get("/openapi.json", opt=_DESCRIBE.as_opt())
async def get_openapi(request: Request[Any, Any, Any]) -> Answer:
    return Answer(request.app.state["openapi"], headers=((b"cache-control", b"public, max-age=300"),))


OPENAPI_ROUTES = (get_openapi,)

_Declared = tuple[HTTPRoute, HTTPRouteHandler, Operation]


def document(declared: Sequence[_Declared]) -> bytes:
    """The description of these operations, as JSON."""
    types = list(_types(operation for _, _, operation in declared))
    schemas, components = msgspec.json.schema_components(types, schema_hook=_anything, ref_template=_REFERENCE)
    schema_of = dict(zip(map(_key, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route, handler, operation in declared:
        for method in sorted(handler.http_methods):
            described = _operation(route, operation, schema_of)
            paths.setdefault(_path(route), {})[method.lower()] = described
    return encoded(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Dart Cloud Functions",
                "version": "1",
                "description": "Takes a Dart function from draft to a running service. Errors are RFC 9457 problems.",
            },
            "servers": [{"url": "/"}],
            "security": [{"apiKey": []}],
            "paths": paths,
            "components": {
                "schemas": components,
                "parameters": _HEADERS,
                "headers": _ANSWER_HEADERS,
                "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer", "description": "An API key: dcf_…"}},
            },
        }
    )


def _anything(_: type) -> dict[str, Any]:
    """The schema of `object`, the only type that msgspec has none for."""
    return {"description": "Any JSON value."}


def _types(operations: Iterable[Operation]) -> Iterable[Any]:
    seen: dict[str, Any] = {_key(Problem): Problem}
    for operation in operations:
        parts = (*operation.answers.values(), operation.takes, *(p.type for p in operation.query))
        for part in parts:
            if part is not None:
                seen.setdefault(_key(part), part)
    return seen.values()


def _key(type: Any) -> str:
    """A type by its name: generic aliases and literals are made anew each time they are written."""
    return repr(type)


def _path(route: HTTPRoute) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: "{" + _camel(found[1]) + "}", route.path_format)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


def _operation(route: HTTPRoute, operation: Operation, schema_of: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": _parameters(route, operation, schema_of),
        "responses": _responses(operation, schema_of),
    }
    if operation.takes is not None:
        described["requestBody"] = _request_body(operation, schema_of)
    if operation.permission == "public":
        described["security"] = []
    else:
        described["x-permission"] = operation.permission
    return described


def _parameters(route: HTTPRoute, operation: Operation, schema_of: dict[str, Any]) -> list[dict[str, Any]]:
    in_path = [
        {"name": _camel(name), "in": "path", "required": True, "schema": _path_schema(definition.type)}
        for name, definition in route.path_parameters.items()
    ]
    in_query = [
        {
            "name": parameter.name,
            "in": "query",
            "required": False,
            "description": parameter.description,
            "schema": schema_of[_key(parameter.type)],
        }
        for parameter in operation.query
    ]
    headers = [{"$ref": f"#/components/parameters/{name}"} for name in _header_names(operation)]
    return [*in_path, *in_query, *headers]


def _path_schema(type: Any) -> dict[str, Any]:
    return {"type": "string", "format": "uuid"} if type.__name__ == "UUID" else {"type": "string"}


def _header_names(operation: Operation) -> list[str]:
    names = ["RequestId"]
    if operation.writes:
        names += ["IdempotencyKey", "Prefer"]
        names += ["IfMatch"] if 412 in operation.refusals else []
    elif operation.permission != "public":
        names += ["IfPosition", "IfNoneMatch"]
        names += ["LastEventId"] if operation.streams else []
    return names


def _request_body(operation: Operation, schema_of: dict[str, Any]) -> dict[str, Any]:
    schema = schema_of[_key(operation.takes)]
    media: dict[str, Any] = {"schema": schema}
    if operation.example is not None:
        media["examples"] = {"example": {"value": operation.example}}
    media_type = "multipart/form-data" if operation.takes_form else "application/json"
    return {"required": True, "content": {media_type: media}}


def _responses(operation: Operation, schema_of: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status, type in operation.answers.items():
        found[str(status)] = {
            "description": _STATUS_TEXTS[status],
            "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in _answer_headers(operation, status)},
            "content": {operation.gives: {"schema": schema_of[_key(type)]}} | (_STREAM if operation.streams else {}),
        }
    for status in _refusals(operation):
        found[str(status)] = {
            "description": _STATUS_TEXTS[status],
            "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in _answer_headers(operation, status)},
            "content": {"application/problem+json": {"schema": schema_of[_key(Problem)]}},
        }
    return dict(sorted(found.items()))


def _answer_headers(operation: Operation, status: int) -> list[str]:
    names = ["X-Request-Id"]
    if status in (429, 503):
        names.append("Retry-After")
    if operation.writes and status < 300:
        names += ["Event-Position", "ETag"]
    if status in (201, 202):
        names.append("Location")
    return names


def _refusals(operation: Operation) -> list[int]:
    found = set(operation.refusals)
    if operation.permission != "public":
        found |= {401, 403, 503}
    if operation.takes is not None:
        found |= {400, 413, 415, 422}
    if operation.query or operation.permission != "public":
        found.add(422)
    if operation.writes:
        found.add(409)
    return sorted(found)
