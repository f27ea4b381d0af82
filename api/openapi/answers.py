"""The answers of an operation: what each status means, its headers, its body with examples, its problems by code."""

from __future__ import annotations

from typing import Any

import msgspec

from api.errors import Problem, problem_of, status_of
from api.example_ids import CORRELATION_ID, PROJECT_ID
from api.openapi.examples import example_of
from api.openapi.refusals import refusals
from api.openapi.schemas import Schemas
from api.operation import Operation
from api.refusals import BodyInvalid, ParameterInvalid
from domain.refusal import FieldError, Refusal

PROBLEM = "application/problem+json"

_STATUS_TEXTS = {
    200: "Done.",
    201: "Created.",
    202: "Accepted; it goes on after the answer, or with the next request.",
    304: "Nothing is newer than the ETag in If-None-Match.",
    400: "The request cannot be read.",
    401: "A credential is needed.",
    403: "The caller may not do this.",
    404: "There is no such thing, or it belongs to another tenant.",
    409: "The request does not fit the present state.",
    412: "Changed since the ETag in If-Match.",
    413: "The body is too large.",
    415: "The body has a media type or an encoding that this does not take.",
    422: "The request asks for something that cannot be.",
    429: "Too much is waiting; Retry-After says when to come back.",
    500: "Something went wrong on our side.",
    503: "Not possible at the moment; Retry-After says when to come back.",
}
_TEXT = {"type": "string"}
# Each event's data is an item of the list that the same address answers as JSON.
_STREAM = {
    "text/event-stream": {
        "schema": _TEXT,
        "examples": {
            "example": {"value": 'retry: 2000\n\nid: 1:4711\nevent: deployment.queued\ndata: {"position":"1:4711"}\n\n'}
        },
    }
}
_FIELD_ERRORS: dict[type[Refusal], tuple[FieldError, ...]] = {
    BodyInvalid: (FieldError(field="name", message="Expected `str`, got `int`"),),
    ParameterInvalid: (FieldError(field="limit", message="Expected `int` <= 200"),),
}


def _header(description: str, example: str | int, *, always: bool = False, **schema: Any) -> dict[str, Any]:
    return {
        "description": description,
        "schema": schema or _TEXT,
        "example": example,
        **({"required": True} if always else {}),
    }


HEADERS = {
    "Accept-Encoding": _header("In which encodings a body is taken: as it is.", "identity", always=True),
    "Access-Control-Allow-Origin": _header("Which pages of other origins may read the answer.", "*"),
    "Cache-Control": _header("Who may keep the answer, and for how long.", "private, no-cache", always=True),
    "Content-Disposition": _header("The name of the file.", 'attachment; filename="main.dart"'),
    "Repr-Digest": _header(
        "The digest of the bytes (RFC 9530).", "sha-256=:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=:"
    ),
    "Content-Encoding": _header("`gzip` where that was accepted and the body is not small.", "gzip"),
    "ETag": _header("The version of the thing, for If-Match and If-None-Match.", '"4711"'),
    "Event-Position": _header("The position of the log this write reached, for If-Position.", "1:4711"),
    "Location": _header("Where the thing that was made is found.", f"/api/v1/projects/{PROJECT_ID}"),
    "Preference-Applied": _header("`respond-async`, when that was preferred.", "respond-async"),
    "RateLimit": _header("How many more requests the tenant may make now.", '"tenant";r=598;t=0'),
    "RateLimit-Policy": _header("How many requests the tenant may make in how many seconds.", '"tenant";q=600;w=60'),
    "Retry-After": _header("Seconds to wait before asking again.", 1, always=True, type="integer", minimum=1),
    "traceparent": _header(
        "Our place in the trace the caller named.", "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"
    ),
    "Upload-Complete": _header("`?1`: this is the answer to the whole file. `?0`: the upload goes on.", "?0"),
    "Upload-Length": _header("How many bytes the whole file has, once that is known.", "31"),
    "Upload-Limit": _header(
        "How large the file may be, and in how many seconds the upload is over.", "max-size=5000000, max-age=86400"
    ),
    "Upload-Offset": _header("How many bytes have arrived; the next ones begin there.", "0"),
    "Vary": _header("The request headers the answer depends on.", "Accept-Encoding"),
    "WWW-Authenticate": _header("How to authenticate (RFC 6750).", 'Bearer realm="dcf"', always=True),
    "X-Correlation-Id": _header(
        "What the request set in motion is recorded under this id.", str(CORRELATION_ID), always=True
    ),
    "X-Request-Id": _header("The request's name: the caller's own, or one made for it.", "ci-42", always=True),
}
# What is the same for most operations is said once.
_SHARED = (400, 401, 413, 415, 500, 503)
_RECORDED = (200, 201, 202, 403, 404, 409, 412, 422)
_ALWAYS = ("X-Request-Id", "X-Correlation-Id", "traceparent", "Cache-Control", "Vary")


class Answers:
    """Describes answers; keeps what many operations have in common: the example of each problem, and whole answers."""

    def __init__(self, schemas: Schemas) -> None:
        self.examples: dict[str, Any] = {}
        self.responses: dict[str, Any] = {}
        self._schemas = schemas
        self._problem = schemas.answered(Problem)

    def of(self, operation: Operation, *, has_path_parameters: bool) -> dict[str, Any]:
        """All answers of the operation, by status."""
        found: dict[int, Any] = {
            status: self._success(operation, status, type) for status, type in operation.answers.items()
        }
        if _is_read(operation):
            found[304] = _described(304, _headers(operation, 304))
        by_status: dict[int, list[type[Refusal]]] = {}
        for refusal in refusals(operation, has_path_parameters=has_path_parameters):
            by_status.setdefault(status_of(refusal), []).append(refusal)
        for status, kinds in by_status.items():
            found[status] = self._refused(operation, status, kinds)
        return {str(status): found[status] for status in sorted(found)}

    def _success(self, operation: Operation, status: int, type: Any) -> dict[str, Any]:
        media: dict[str, Any] = {"schema": self._schemas.answered(type)}
        example = example_of(operation.name, status, type)
        if example is not msgspec.UNSET:
            media["examples"] = {"example": {"value": example}}
        content = {operation.gives: media} | (_STREAM if operation.streams else {})
        return {**_described(status, _headers(operation, status)), "content": content}

    def _refused(self, operation: Operation, status: int, kinds: list[type[Refusal]]) -> dict[str, Any]:
        codes = sorted(kind.code for kind in kinds)
        for kind in kinds:
            self.examples.setdefault(kind.code, _example(kind))
        described = _described(status, _headers(operation, status), codes)
        examples = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
        whole = {**described, "content": {PROBLEM: {"schema": self._problem, "examples": examples}}}
        return self._shared(status, whole) if status in _SHARED else whole

    def _shared(self, status: int, response: dict[str, Any]) -> dict[str, Any]:
        alike = [name for name in self.responses if name.startswith(f"Problem{status}")]
        name = next((name for name in alike if self.responses[name] == response), "")
        if not name:
            name = f"Problem{status}" + (f".{len(alike) + 1}" if alike else "")
            self.responses[name] = response
        return {"$ref": f"#/components/responses/{name}"}


def _described(status: int, headers: list[str], codes: list[str] | None = None) -> dict[str, Any]:
    listed = f" Codes: {', '.join(f'`{code}`' for code in codes)}." if codes else ""
    return {
        "description": _STATUS_TEXTS[status] + listed,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers},
    }


def _headers(operation: Operation, status: int) -> list[str]:
    names = [*_ALWAYS, *(["Content-Encoding"] if status != 304 else []), *operation.shows]
    if operation.permission != "public":
        names += ["RateLimit", "RateLimit-Policy"]
    if status == 401:
        names.append("WWW-Authenticate")
    if status == 415:
        names.append("Accept-Encoding")
    if status in (429, 503):
        names.append("Retry-After")
    if status in (200, 201, 202, 304):
        names.append("ETag")
    if status in (201, 202) or 201 in operation.answers:
        names.append("Location")
    if operation.writes and status in _RECORDED:
        # A refusal that is recorded names its place in the log as well.
        names += ["Event-Position", "Preference-Applied"]
    return names


def _is_read(operation: Operation) -> bool:
    return not operation.writes and operation.takes is None and not operation.records_nothing


def _example(kind: type[Refusal]) -> dict[str, Any]:
    # Some take more to be raised than belongs to what is told of them.
    refusal = kind.__new__(kind)
    Refusal.__init__(refusal, errors=_FIELD_ERRORS.get(kind, ()))
    problem = problem_of(refusal, CORRELATION_ID)
    return {"summary": problem.title, "value": msgspec.to_builtins(problem)}
