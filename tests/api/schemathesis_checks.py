"""What schemathesis does not know by itself: a check of our own, and whom operators may do things to."""

from __future__ import annotations

import os
import re
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, HookContext, Response, SerializationContext
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import ensure_resource_availability

from eventstore.positions import POSITION_PATTERN

# What says that a request is not as the description wants it.
_MALFORMED = {
    "body_invalid",
    "body_malformed",
    "field_repeated",
    "form_malformed",
    "malformed_position",
    "media_type_not_taken",
}


@schemathesis.check
def is_as_described(_context: CheckContext, response: Response, case: Case[Any]) -> None:
    """A request that is as the description wants it may be refused for what it asks, never for how it is written."""
    if case.meta is None or case.meta.generation.mode != GenerationMode.POSITIVE or response.status_code < 400:
        return
    position = dict(case.headers or {}).get("If-Position")
    if position is not None and not re.fullmatch(POSITION_PATTERN, str(position)):
        return  # It takes a number for a text that fits the pattern, where it combines headers.
    code = response.json().get("code")
    assert code not in _MALFORMED, f"{code}: {response.json()['detail']}"


@schemathesis.check
def what_was_made_is_there(context: CheckContext, response: Response, case: Case[Any]) -> bool | None:
    """As schemathesis checks it; but a refusal that names a field is about what that names, a file nobody uploaded, say."""
    if response.status_code == 404 and response.json().get("errors"):
        return None
    return ensure_resource_availability(context, response, case)


@schemathesis.serializer("application/partial-upload")
def a_piece(_context: SerializationContext, value: Any) -> bytes:
    """A piece of a file is sent as it is."""
    data = getattr(value, "data", value)
    return data if isinstance(data, bytes) else str(data).encode()


@schemathesis.hook
def before_call(_context: HookContext, case: Case[Any], _kwargs: dict[str, Any]) -> None:
    """What all else is tried with stays: the project's connection, and the plans, tenants and runtimes that operators change.

    They may also make the owner one of their own tenants' owner, who then has to say which one is meant.
    """
    if {"bearer": []} in case.operation.definition.raw.get("security", [{"bearer": []}]):
        case.headers.setdefault("Dcf-Tenant", os.environ["DCF_TRIED_TENANT"])
    match case.operation.definition.raw["operationId"]:
        case "definePlan":
            case.path_parameters["name"] = "tried"
        case "setRuntimeDates":
            case.path_parameters["version"] = os.environ["DCF_OTHER_RUNTIME"]
        case "disconnectLocal" if case.path_parameters.get("projectId") == os.environ["DCF_TRIED_PROJECT"]:
            case.path_parameters["projectId"] = os.environ["DCF_SPARE_PROJECT"]
        case _ if case.path_parameters.get("tenantId") == os.environ["DCF_TRIED_TENANT"]:
            case.path_parameters["tenantId"] = os.environ["DCF_OTHER_TENANT"]
        case _:
            pass
