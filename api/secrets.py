"""A function's secrets: set, listed by name, removed, and never shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, delete, get, put
from litestar.params import FromPath

from api.answer import Answer, encoded
from api.body import read
from api.operation import Operation
from api.reading import reached, tenant_of
from api.services import services_of
from api.writing import Reply, Writing, recorded_time
from commands.basis import fold
from commands.command import States
from commands.function import RemoveSecret, SetSecret
from domain.function import (
    FUNCTION,
    EnvironmentNameNotAllowed,
    Function,
    FunctionIsArchived,
    FunctionUnknown,
    NameOfBoth,
    SecretUnknown,
    TooManySecrets,
)
from domain.project import ProjectIsArchived, ProjectUnknown
from domain.refusal import FieldError, Invalid
from process.secret import Secret as Hidden

VALUE_BYTES_MAX = 16 * 1024

# A pattern would be checked against the value, and told with it.
Value = Annotated[
    str, msgspec.Meta(min_length=1, max_length=VALUE_BYTES_MAX, examples=["correct horse battery staple"])
]


class SecretValueNotAllowed(Invalid):
    """A secret has a value it cannot have."""

    code = "secret_value_not_allowed"
    remedy = f"Send at most {VALUE_BYTES_MAX} bytes of UTF-8, without the zero byte."


class SecretRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """The value from here on. It is never shown again; deploy the function for it to count."""

    value: Value

    def __repr__(self) -> str:
        return "SecretRequest()"


class Secret(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`version` rises with every value the secret is given, and is what releases pin."""

    name: str
    version: int
    set_at: datetime


class Secrets(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All of them: there are never so many that a page is needed."""

    items: list[Secret]


_OPEN = (ProjectUnknown, ProjectIsArchived, FunctionUnknown, FunctionIsArchived)
_PLACE = "/projects/{project_id:uuid}/functions/{function_id:uuid}/secrets"
_LIST = Operation(
    name="listSecrets",
    permission="functions:read",
    summary="List a function's secrets: names and versions, never values",
    tag="Functions",
    answers={200: Secrets},
    refusals=(FunctionUnknown,),
)


@get(_PLACE, opt=_LIST.as_opt())
async def list_secrets(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], function_id: FromPath[UUID]
) -> Answer:
    services, tenant_id = await reached(request), tenant_of(request)
    function: Function = await fold(services.log, FUNCTION, FUNCTION.stream(tenant_id, function_id))
    if not function.exists or function.project_id != project_id:
        raise FunctionUnknown
    items = [
        Secret(name=name, version=value.version, set_at=recorded_time(value.set_at))
        for name, value in sorted(function.secrets.items())
    ]
    return Answer(encoded(Secrets(items=items)))


_SET = Operation(
    name="setSecret",
    permission="secrets:write",
    summary="Give a secret of a function a value",
    tag="Functions",
    takes=SecretRequest,
    answers={200: Secret},
    example={"value": "correct horse battery staple"},
    writes=True,
    if_match=True,
    refusals=(
        *_OPEN,
        EnvironmentNameNotAllowed,
        NameOfBoth,
        SecretValueNotAllowed,
        TooManySecrets,
    ),
)


@put(_PLACE + "/{name:str}", opt=_SET.as_opt())
async def set_secret(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], function_id: FromPath[UUID], name: FromPath[str]
) -> Answer:
    asked_for, content = await read(request, SecretRequest)
    if "\0" in asked_for.value or len(asked_for.value.encode()) > VALUE_BYTES_MAX:
        raise SecretValueNotAllowed(errors=(FieldError(field="value", message="too long, or holds the zero byte"),))
    services = services_of(request)
    # A plain hash of the request would be kept, and a short value could be guessed from it.
    writing = Writing(request, await services.secrets.fingerprint(tenant_of(request), content))
    tenant_id, value_id = writing.principal.tenant_id, writing.own_id("secret value")
    command = SetSecret(**writing.asked, project_id=project_id, function_id=function_id, name=name, value_id=value_id)
    stream = FUNCTION.stream(tenant_id, function_id)
    # Only for a function there is; the decision looks again. The value is kept before anything names it.
    function: Function = await fold(services.log, FUNCTION, stream)
    if function.exists and function.project_id == project_id:
        await services.secrets.close(tenant_id, function_id, value_id, Hidden(asked_for.value))

    def answer(states: States) -> Reply:
        value = states.at(FUNCTION, stream).secrets[name]
        return Reply(body=Secret(name=name, version=value.version, set_at=recorded_time(value.set_at)))

    return await writing.do(command, answer, entity=stream)


_REMOVE = Operation(
    name="removeSecret",
    permission="secrets:write",
    summary="Take a secret from a function; releases that pinned it keep it",
    tag="Functions",
    answers={200: Secrets},
    writes=True,
    if_match=True,
    refusals=(
        *_OPEN,
        SecretUnknown,
    ),
)


@delete(_PLACE + "/{name:str}", status_code=200, opt=_REMOVE.as_opt())
async def remove_secret(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], function_id: FromPath[UUID], name: FromPath[str]
) -> Answer:
    writing = Writing(request, b"")
    command = RemoveSecret(**writing.asked, project_id=project_id, function_id=function_id, name=name)
    stream = FUNCTION.stream(command.tenant_id, function_id)

    def answer(states: States) -> Reply:
        left = sorted(states.at(FUNCTION, stream).secrets.items())
        items = [Secret(name=one, version=value.version, set_at=recorded_time(value.set_at)) for one, value in left]
        return Reply(body=Secrets(items=items))

    return await writing.do(command, answer, entity=stream)


SECRET_ROUTES = (list_secrets, set_secret, remove_secret)
