"""The whole API as one OpenAPI 3.1 document, made from what the routes themselves declare."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from msgspec.inspect import StructType, type_info

from api.openapi.answers import HEADERS as ANSWER_HEADERS
from api.openapi.answers import Answers
from api.openapi.links import Links
from api.openapi.parameters import HEADERS, parameters, path
from api.openapi.schemas import Schemas
from api.operation import Operation

Declared = tuple[HTTPRoute, HTTPRouteHandler, Operation]
Document = dict[str, Any]

_INTRODUCTION = """Takes a Dart function from draft to a running service, on this machine or in your own cloud account.

**Who you are.** Send an API key, or the ID token of an issuer that is trusted, as a bearer token. Everything you see belongs to your tenant; what belongs to another one is
a 404.

**Doing things once.** Send a new Idempotency-Key with each write: repeated with the same key, a request is done once and gets
the first answer.

**Reading your writes.** A write answers after the read models have seen it, and with the Event-Position it reached. With
`Prefer: respond-async` it answers at once; ask for that position with If-Position when you read.

**Not overwriting others.** Everything has an ETag. If-Match makes a write depend on it, If-None-Match spares a read its body.

**Lists** come in pages: follow `nextCursor` until it is null. Cursors hold while things are added.

**Errors** are problems (RFC 9457): `code` is for programs, `remedy` says what to do next. New codes may come at any time.

**Health.** `GET /health/live`, `GET /health/ready` and `GET /metrics` (Prometheus) ask for no credential; they are each process's own and
stand beside this description."""

TAGS = {
    "Projects": "A project owns functions, integrations and deployments.",
    "Artifacts": "Uploaded source files, known by their digest.",
    "Functions": "What authors say about a function; it changes nothing that runs until it is deployed.",
    "Integrations": "As whom a project meets a cloud, and where it stages its files.",
    "Deployments": "From queued to answering, and away again.",
    "Webhooks": "Addresses of yours that are told, signed and in order, what happens.",
    "Audit": "What happened, who did it, and because of what.",
    "Catalogues": "What there is to choose from.",
    "Tenant": "Your workspace and its members.",
    "API keys": "Credentials of machines.",
    "Operations": "For the operators of the service.",
    "Read models": "For the operators: what is served, and having it made anew.",
    "Issuer": "What clouds read of us to trust our tokens.",
    "Description": "This description.",
}


def document(declared: Iterable[Declared]) -> Document:
    """The description of these operations."""
    operations = list(declared)
    schemas = Schemas()
    answers, links = Answers(schemas), Links(operations)
    paths: dict[str, dict[str, Any]] = {}
    for route, handler, operation in operations:
        for method in sorted(handler.http_methods):
            described = _operation(route, operation, schemas, answers)
            if method != "DELETE":  # What was taken away leads nowhere.
                links.add(route, operation, described["responses"])
            paths.setdefault(path(route), {})[method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": "Dart Cloud Functions", "version": "1", "description": _INTRODUCTION},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.components.items())),
            "parameters": HEADERS,
            "headers": ANSWER_HEADERS,
            "responses": dict(sorted(answers.responses.items())),
            "examples": dict(sorted(answers.examples.items())),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key, as POST /api/v1/keys shows it once, or an ID token of an issuer that is trusted.",
                },
                "operator": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The key of an operator, as the first start shows it once.",
                },
            },
        },
    }


def _operation(route: HTTPRoute, operation: Operation, schemas: Schemas, answers: Answers) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": parameters(route, operation, schemas),
    }
    if operation.takes is not None:
        described["requestBody"] = _request_body(operation, schemas)
    described["responses"] = answers.of(operation, has_path_parameters=bool(route.path_parameters))
    if operation.permission == "public":
        described["security"] = []
    else:
        if operation.permission == "operate":
            described["security"] = [{"operator": []}]
        described["description"] = f"Needs the permission `{operation.permission}`."
        described["x-permission"] = operation.permission
    return described


def _request_body(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    examples = dict(operation.examples)
    if operation.example is not None:
        examples = {"example": operation.example, **examples}
    media = {
        "schema": schemas.taken(operation.takes),
        "examples": {name: {"value": value} for name, value in examples.items()},
    }
    if operation.takes_bytes:
        return {"required": False, "content": {operation.takes_bytes: media}}  # A piece may be empty.
    media_type = "multipart/form-data" if operation.takes_form else "application/json"
    return {"required": _is_needed(operation.takes), "content": {media_type: media}}


def _is_needed(type: Any) -> bool:
    """Whether the body cannot be left out; an empty one counts as an empty object."""
    found = type_info(type)
    return not isinstance(found, StructType) or any(field.required for field in found.fields)
