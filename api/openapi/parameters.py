"""The parameters of an operation: in its path, its query and its headers."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from litestar.routes import HTTPRoute

from api.example_ids import (
    ARTIFACT_ID,
    CORRELATION_ID,
    DEPLOYMENT_ID,
    FUNCTION_ID,
    INVITATION_ID,
    JOB_ID,
    KEY_ID,
    PERSON_ID,
    PROJECT_ID,
    TENANT_ID,
    UPLOAD_ID,
    WEBHOOK_ID,
)
from api.instant import Instant
from api.openapi.schemas import Schema, Schemas
from api.operation import Operation, Parameter
from eventstore.positions import POSITION_PATTERN

A_POSITION = "1:4711"
# That of an event which is there.
AN_EVENT = "1:2045"
_TEXT: Schema = {"type": "string"}
_EXAMPLE_OF: dict[Any, str] = {UUID: str(FUNCTION_ID), Instant: "2026-03-01T12:00:00Z"}

# What may stand in a path: what it says there, and an example; where a name means several things, by the tag it means them in.
PATH_PARAMETERS: dict[str, tuple[str, str]] = {
    "artifact": ("The artifact's id, or its digest: `sha256:` and 64 hexadecimal digits.", str(ARTIFACT_ID)),
    "correlationId": ("The `correlationId` of an event, or the X-Correlation-Id of an answer.", str(CORRELATION_ID)),
    "deploymentId": ("The deployment.", str(DEPLOYMENT_ID)),
    "entityId": ("The id of a project, function, deployment or anything else that has events.", str(FUNCTION_ID)),
    "functionId": ("The function.", str(FUNCTION_ID)),
    "level": ("The level of the tile: 0 has the leaves.", "0"),
    "invitationId": ("The invitation.", str(INVITATION_ID)),
    "jobId": ("The job.", str(JOB_ID)),
    "keyId": ("The API key.", str(KEY_ID)),
    "Operations.name": ("The plan's name.", "standard"),
    "Read models.name": ("The read model's name.", "deployments"),
    "Functions.name": ("The secret's name: that of the variable in which the function finds it.", "API_TOKEN"),
    "personId": ("The member.", str(PERSON_ID)),
    "position": ("The position of an event, as any answer gave it.", AN_EVENT),
    "projectId": ("The project.", str(PROJECT_ID)),
    "tenantId": ("The tenant.", str(TENANT_ID)),
    "tile": (
        "Its number, three digits to a segment (`x001/x234/067`); of one that is not full `.p/12` gives the first 12 hashes.",
        "000.p/1",
    ),
    "uploadId": ("The upload.", str(UPLOAD_ID)),
    "webhookId": ("The webhook.", str(WEBHOOK_ID)),
    "version": ("The version of a Dart SDK.", "3.12.0"),
}


def _header(
    name: str, description: str, example: str, schema: Schema = _TEXT, *, required: bool = False
) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": required,
        "description": description,
        "schema": schema,
        "examples": {"example": {"value": example}},
    }


_KEY_SCHEMA = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"}
_BYTES = {"type": "string", "pattern": "^[0-9]{1,15}$"}
_UPLOAD_COMPLETE = {"type": "string", "pattern": r"^\?[01]$"}
_POSITION_SCHEMA = {"type": "string", "pattern": POSITION_PATTERN}

HEADERS = {
    "RequestId": _header(
        "X-Request-Id", "The caller's own name for the request; it comes back in the answer.", "ci-42"
    ),
    "TraceParent": _header(
        "traceparent",
        "The caller's place in a trace (W3C). Without X-Request-Id the correlation id is the id of the trace.",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ),
    "DcfTenant": _header(
        "Dcf-Tenant",
        "In which tenant a person acts who is a member of several; GET /api/v1/me lists them.",
        # Of no format: generated clients do not turn a UUID into a header.
        str(TENANT_ID),
    ),
    "AcceptEncoding": _header("Accept-Encoding", "`gzip`: answers that are not small come compressed.", "gzip"),
    "IdempotencyKey": _header(
        "Idempotency-Key",
        "The same key and request again get the first answer; with another body or address it is refused. It counts for its caller and this operation.",
        "7b0c1f0e-deploy-42",
        _KEY_SCHEMA,
    ),
    "Prefer": _header("Prefer", "`respond-async`: answer before the read models have seen the write.", "respond-async"),
    "IfMatch": _header("If-Match", "Only if the thing still has this ETag; 412 if not.", '"4711"'),
    "IfNoneMatch": _header("If-None-Match", "304 if there is nothing newer than this ETag.", '"4711"'),
    "IfPosition": _header(
        "If-Position",
        "Wait until what is read is at least as new as this Event-Position; 503 if that takes too long.",
        A_POSITION,
        _POSITION_SCHEMA,
    ),
    "ReprDigest": _header(
        "Repr-Digest",
        "The SHA-256 of the whole file (RFC 9530): other bytes than these are refused.",
        "sha-256=:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=:",
    ),
    "UploadComplete": _header(
        "Upload-Complete", "`?1`: the file ends with this body. `?0`: more of it is to come.", "?1", _UPLOAD_COMPLETE
    ),
    "UploadLength": _header("Upload-Length", "How many bytes the whole file has.", "31", _BYTES),
    "UploadOffset": _header("Upload-Offset", "Where in the file this body begins.", "0", _BYTES, required=True),
    "PieceComplete": _header(
        "Upload-Complete", "`?1`: this is the last piece. `?0`: more is to come.", "?1", _UPLOAD_COMPLETE, required=True
    ),
    "LastEventId": _header("Last-Event-ID", "For a stream: go on after this place.", A_POSITION),
}


# Of those that are texts of a certain form.
PATH_SCHEMAS: dict[str, Schema] = {"position": _POSITION_SCHEMA}


def parameters(route: HTTPRoute, operation: Operation, schemas: Schemas) -> list[dict[str, Any]]:
    """In the order of reading: path, query, headers."""
    in_path = [_in_path(camel(name), definition.type, operation) for name, definition in route.path_parameters.items()]
    in_query = [_in_query(parameter, schemas) for parameter in operation.query]
    headers = [{"$ref": f"#/components/parameters/{name}"} for name in header_names(operation)]
    return [*in_path, *in_query, *headers]


def header_names(operation: Operation) -> list[str]:
    """The headers that mean something to the operation, as `HEADERS` calls them."""
    names = ["RequestId", "TraceParent", "AcceptEncoding"]
    if operation.permission != "public":
        names.append("DcfTenant")
    names += operation.heeds
    if operation.writes:
        names += ["IdempotencyKey", "Prefer", *(["IfMatch"] if operation.if_match else [])]
    elif operation.takes is None and not operation.records_nothing:
        names += ["IfNoneMatch"]
        names += ["IfPosition"] if operation.permission != "public" else []
        names += ["LastEventId"] if operation.streams else []
    return names


def path(route: HTTPRoute) -> str:
    """The route's path with its parameters as the description names them."""
    return re.sub(r"\{(\w+)\}", lambda found: "{" + camel(found[1]) + "}", route.path_format)


def camel(name: str) -> str:
    """The name as JSON spells it."""
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


def _in_path(name: str, type: Any, operation: Operation) -> dict[str, Any]:
    of_all = PATH_PARAMETERS.get(name, ("", ""))
    description, example = PATH_PARAMETERS.get(f"{operation.tag}.{name}", of_all)
    schema = {"type": "string", "format": "uuid"} if type.__name__ == "UUID" else PATH_SCHEMAS.get(name, _TEXT)
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": schema,
        "examples": {"example": {"value": example}},
    }


def _in_query(parameter: Parameter, schemas: Schemas) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "query",
        "required": parameter.required,
        "description": parameter.description,
        "schema": schemas.taken(parameter.type),
        **_examples(parameter),
    }


def _examples(parameter: Parameter) -> dict[str, Any]:
    example = _EXAMPLE_OF.get(parameter.type) if parameter.example is None else parameter.example
    return {} if example is None else {"examples": {"example": {"value": example}}}
