"""Reads of the past: `?asOf=` with a time or a position of the log, answered in the shape of today."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request

from api.instant import instant
from api.listing import arguments
from api.operation import Parameter, operation_of
from api.reading import reached
from api.refusals import NotYetVisible, ParameterInvalid
from api.services import Services
from domain.refusal import FieldError
from eventstore.key_uses import MemoryKeyUses
from eventstore.positions import POSITION_PATTERN
from projections.as_of import PastReader

_NAME = "asOf"
_TOKEN = re.compile(r"[0-9]+:[0-9]+", re.ASCII)
# Sent without escaping, the plus of an offset arrives as a space.
_LOST_PLUS = re.compile(r" (?=[0-9]{2}:[0-9]{2}$)")

MomentText = Annotated[
    str,
    msgspec.Meta(
        extra_json_schema={
            "anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "pattern": POSITION_PATTERN}]
        }
    ),
]
AS_OF = Parameter(
    name=_NAME,
    type=MomentText,
    description="As it was at this time (RFC 3339), or when the log had reached this position.",
    example="2026-03-01T12:00:00Z",
)


class Moment(msgspec.Struct, frozen=True):
    """A place in the log, and the time that belongs to it."""

    position: int
    at: datetime


async def reached_as_of(request: Request[Any, Any, Any]) -> Services:
    """As `reached`, for an operation that takes AS_OF: given one, the services answer, and tell the time, as of then.

    Also raises ParameterInvalid, and what reading a token raises.
    """
    services = await reached(request)
    if not request.scope["query_string"]:
        return services
    given = arguments(request, operation_of(request.route_handler).query).get(_NAME)
    if given is None:
        return services
    moment = await moment_of(services, given, _NAME)
    past = PastReader(services.reader, moment.position)
    # When keys were used is in no log: of the past nothing is known of it.
    return msgspec.structs.replace(services, reader=past, key_uses=MemoryKeyUses(), clock=lambda: moment.at)


async def moment_of(services: Services, text: str, name: str) -> Moment:
    """The moment a parameter names, once it can be read. Raises ParameterInvalid, NotYetVisible, and as Tokens.read."""
    if _TOKEN.fullmatch(text):
        moment = await _of_token(services, text, name)
    else:
        moment = await _of_time(services, text, name)
    if not await services.reader.wait_for(moment.position, seconds_max=services.wait_seconds_max):
        raise NotYetVisible
    return moment


async def _of_token(services: Services, text: str, name: str) -> Moment:
    position = await services.tokens.read(text, name)
    if position > await services.log.head():
        raise _invalid(name, "the log has not come that far")
    at = await services.instants.recorded_at(position)
    # Before the first event there was no time to speak of; nothing was there then either.
    return Moment(position, services.clock() if at is None else at)


async def _of_time(services: Services, text: str, name: str) -> Moment:
    try:
        at = instant(_LOST_PLUS.sub("+", text))
    except ValueError as error:
        raise _invalid(name, "neither a time with its zone (RFC 3339) nor a position") from error
    if at > services.clock():
        raise _invalid(name, "that time has not come yet")
    return Moment(await services.instants.position_at(at), at)


def _invalid(name: str, message: str) -> ParameterInvalid:
    return ParameterInvalid(
        f"The parameter {name!r} cannot be used: {message}.",
        errors=(FieldError(field=name, message=message),),
        remedy="Send a time such as 2026-03-01T12:00:00Z, or a position as an earlier answer gave it.",
    )
