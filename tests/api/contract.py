"""Holds every answer the API gives in a test against what the API says of itself."""

from __future__ import annotations

import copy
import json
import re
from functools import cache
from typing import Any

import httpx
import jsonschema_rs

from api.app import routed
from api.front import SECURITY_HEADERS
from api.openapi.description import Description

Document = dict[str, Any]

# What every answer of any server has, and what Litestar or httpx take care of.
_OF_ALL = {"content-type", "content-length", "x-accel-buffering", *(name.decode() for name, _ in SECURITY_HEADERS)}
_PROBLEM = "application/problem+json"


@cache
def the_document() -> Document:
    """The API's description, made from the routes alone."""
    document: Document = json.loads(Description(routed()).as_json)
    return document


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    """Each operation's method and path, and what is said of it."""
    return [
        (method.upper(), path, operation)
        for path, methods in the_document()["paths"].items()
        for method, operation in methods.items()
    ]


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """What a reference stands for, or the part itself."""
    while "$ref" in part:
        found: Any = the_document()
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        part = found
    return part


async def check(response: httpx.Response) -> None:
    """For httpx's response hook. Raises AssertionError, saying what to declare, when the answer is not as described."""
    request = response.request
    operation = _operation(request.method, request.url.raw_path.decode().partition("?")[0])
    if operation is None:
        return
    where = f"{request.method} {request.url.path} answered {response.status_code}"
    described = _described(response, operation, where)
    if described is None:
        return
    _check_headers(response, resolved(described), where)
    content = resolved(described).get("content", {})
    media_type = response.headers.get("content-type", "").partition(";")[0]
    assert not content or media_type in content, (
        f"{where} with {media_type}; {operation['operationId']} declares {list(content)}"
    )
    if media_type == "text/event-stream" or not content:
        return
    await response.aread()
    if media_type.endswith("json"):
        _check_body(response, operation, content[media_type], where)


def _operation(method: str, path: str) -> dict[str, Any] | None:
    for pattern, methods in _patterns():
        if pattern.fullmatch(path):
            found: dict[str, Any] | None = methods.get("get" if method == "HEAD" else method.lower())
            return found
    return None


@cache
def _patterns() -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    """A literal segment stands before a parameter in the same place."""
    paths = sorted(the_document()["paths"].items(), key=lambda pair: pair[0].replace("{", "~"))
    return [
        (
            re.compile(
                re.sub(r"\{\w+\}", "[^/]+", re.sub(r"\\([{}])", r"\1", re.escape(path)).replace("{tile}", ".+"))
            ),
            methods,
        )
        for path, methods in paths
    ]


def _described(response: httpx.Response, operation: dict[str, Any], where: str) -> dict[str, Any] | None:
    status = str(response.status_code)
    described: dict[str, Any] | None = operation["responses"].get(status)
    assert described is not None, f"{where}, which {operation['operationId']} does not declare: {response.text[:300]}"
    return described


def _check_headers(response: httpx.Response, described: dict[str, Any], where: str) -> None:
    declared = {name.lower(): resolved(header) for name, header in described.get("headers", {}).items()}
    undeclared = set(response.headers) - set(declared) - _OF_ALL
    missing = {name for name, header in declared.items() if header.get("required")} - set(response.headers)
    assert not undeclared, f"{where} with headers that are not described: {sorted(undeclared)}"
    assert not missing, f"{where} without the headers that are described: {sorted(missing)}"


def _check_body(response: httpx.Response, operation: dict[str, Any], media: dict[str, Any], where: str) -> None:
    if response.request.method == "HEAD":
        return
    body = response.json()
    if response.headers["content-type"] == _PROBLEM:
        assert body["code"] in media["examples"], (
            f"{where} {body['code']}, which {operation['operationId']} does not declare: name the refusal in `refusals` of its Operation"
        )
    errors = errors_of(media["schema"], body)
    assert not errors, f"{where} with a body that is not as described: {errors[:3]}"


def errors_of(schema: dict[str, Any], value: Any) -> list[str]:
    """In what the value is not as the schema says."""
    errors = _validator(json.dumps(schema)).iter_errors(value)
    return [f"{'/'.join(map(str, error.instance_path))}: {error.message}" for error in errors]


@cache
def _validator(schema: str) -> jsonschema_rs.Draft202012Validator:
    whole = {**json.loads(schema), "components": {"schemas": _closed()}}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


@cache
def _closed() -> dict[str, Any]:
    """The schemas, allowing nothing that is not described: clients let new fields come, our tests do not."""
    schemas: dict[str, Any] = copy.deepcopy(the_document()["components"]["schemas"])
    for schema in schemas.values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return schemas
