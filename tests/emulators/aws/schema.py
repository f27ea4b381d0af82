"""Requests and answers held against Amazon's own models: names, types, what is required, enums, patterns and bounds."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from botocore.validate import ParamValidator
from moto.core.parse import PROTOCOL_PARSERS, RequestParserError
from moto.core.request import Request
from moto.core.routing import get_service_router
from moto.core.serialize import get_serializer_class
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from tests.emulators.aws.answers import Refused

_BODY_BYTES_MAX_SHOWN = 200


class Asked:
    """One operation that was asked for, and its parameters."""

    def __init__(self, service: str, operation: Any, parameters: dict[str, Any]) -> None:
        self.service, self.operation, self.parameters = service, operation, parameters

    @property
    def name(self) -> str:
        return str(self.operation.name)

    @property
    def protocol(self) -> str:
        return protocol_of(self.operation.service_model)

    def answer(self, result: dict[str, Any]) -> Response:
        """The result as a response; it has to be what the model says of it."""
        shape = self.operation.output_shape
        if shape is not None:
            problems = ParamValidator().validate(result, shape).generate_report().splitlines()
            # Bounds are for requests: Amazon answers empty lists where its models say that there are none.
            problems = [one for one in problems if not one.startswith("Invalid length")] + _unknown(shape, result)
            assert not problems, f"{self.service}.{self.name} answers {problems}"
        made = get_serializer_class(self.service, self.protocol)(self.operation).serialize(result)
        return Response(made["body"], made["status_code"], made["headers"])


def protocol_of(model: Any) -> str:
    return str(model.metadata["protocol"])


@cache
def router(service: str) -> Any:
    return get_service_router(service)


def asked(service: str, request: Request) -> Asked:
    """What is asked for, once it fits the model. Raises Refused."""
    try:
        operation, uri = router(service).match(request)
    except NotFound:
        raise Refused("UnknownOperationException", f"{request.method} {request.path}", 404) from None
    protocol = protocol_of(operation.service_model)
    body = request.get_data()
    try:
        parsed = PROTOCOL_PARSERS[protocol](operation).parse(
            {
                "method": request.method,
                "values": request.values,
                "headers": request.headers,
                "body": body,
                "url_path": request.path,
                "url_params": uri,
            }
        )
    except (RequestParserError, ValueError) as error:
        raise Refused("SerializationException", f"{body[:_BODY_BYTES_MAX_SHOWN]!r}: {error}") from error
    if operation.input_shape is not None:
        _check(operation, protocol, parsed, body)
    return Asked(service, operation, parsed)


def _check(operation: Any, protocol: str, parsed: dict[str, Any], body: bytes) -> None:
    shape = operation.input_shape
    report = ParamValidator().validate(parsed, shape)
    problems = [report.generate_report()] if report.has_errors() else []
    if protocol == "json" or (protocol == "rest-json" and "payload" not in shape.serialization):
        problems += [f"unknown member {name}" for name in _unknown(shape, json.loads(body or b"{}"))]
    problems += _misfits(shape, parsed, operation.name)
    if problems:
        raise Refused("ValidationException", f"{operation.name}: " + "; ".join(problems))


def _unknown(shape: Any, value: Any, path: str = "") -> list[str]:
    if shape.type_name == "structure" and isinstance(value, dict):
        by_name = {member.serialization.get("name", name): member for name, member in shape.members.items()}
        by_name |= shape.members
        return [
            found
            for name, inner in value.items()
            for found in (
                _unknown(by_name[name], inner, f"{path}.{name}") if name in by_name else [f"{path}.{name}".lstrip(".")]
            )
        ]
    if shape.type_name == "list" and isinstance(value, list):
        return [found for inner in value for found in _unknown(shape.member, inner, f"{path}[]")]
    return []


def _misfits(shape: Any, value: Any, path: str) -> list[str]:
    """What botocore lets pass, and Amazon does not."""
    if value is None:
        return []
    match shape.type_name:
        case "structure" if isinstance(value, dict):
            return [
                found
                for name, inner in value.items()
                if name in shape.members
                for found in _misfits(shape.members[name], inner, f"{path}.{name}")
            ]
        case "list":
            return [found for inner in value for found in _misfits(shape.member, inner, f"{path}[]")]
        case "map":
            pairs = [*((shape.key, key) for key in value), *((shape.value, inner) for inner in value.values())]
            return [found for inner_shape, inner in pairs for found in _misfits(inner_shape, inner, f"{path}{{}}")]
        case "string":
            return _text_misfits(shape, value, path)
        case "integer" | "long":
            highest = shape.metadata.get("max")
            return [f"{path}={value} is more than {highest}"] if highest is not None and value > highest else []
        case _:
            return []


def _text_misfits(shape: Any, value: str, path: str) -> list[str]:
    enum, pattern, longest = (shape.metadata.get(name) for name in ("enum", "pattern", "max"))
    if enum and value not in enum:
        return [f"{path}={value!r} is none of {', '.join(enum)}"]
    if longest is not None and len(value) > longest:
        return [f"{path} is longer than {longest}"]
    if pattern and not _fits(pattern, value):
        return [f"{path}={value!r} does not fit {pattern}"]
    return []


def _fits(pattern: str, value: str) -> bool:
    try:
        return re.fullmatch(pattern, value, re.DOTALL if pattern in (".*", ".+") else 0) is not None
    except re.error:  # Written for Java.
        return True
