"""What a route says of itself: who may use it, what it takes and what it answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import msgspec
from litestar import Litestar
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.routes import HTTPRoute

from api.principal import Permission
from domain.refusal import Refusal

_KEY = "operation"


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """A query parameter; `type` is what it converts to. One that is plain text has an example."""

    name: str
    type: Any
    description: str
    example: str | int | None = None
    required: bool = False


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of the API. `answers` gives the type of the body for each status of success.

    `gives` is the media type of these bodies. `name` is its operationId. `writes`: it takes Idempotency-Key and Prefer, and
    answers with Event-Position; `if_match`: also If-Match.
    `streams`: asked for text/event-stream it goes on with what is new, from Last-Event-ID.
    `shows` names headers of the answer that not every operation has, `heeds` those of the request, as the description calls
    them. `takes_bytes` is the media type of a body that is no JSON; `records_nothing`: it changes what is no part of the log.
    `within_projects`: no project is named in its address, and its handler looks itself at what a key for some projects may see.
    `example` is the body most callers send, `examples` are others by name. `refusals` are those of its own: what comes with
    reading a body, being known or recording anything is added by itself (api/openapi/refusals.py).
    """

    name: str
    permission: Permission | Literal["public"]
    summary: str
    tag: str
    answers: dict[int, Any]
    gives: str = "application/json"
    takes: Any = None
    takes_form: bool = False
    takes_bytes: str = ""
    heeds: tuple[str, ...] = ()
    example: Any = None
    examples: Mapping[str, Any] = MappingProxyType({})
    query: tuple[Parameter, ...] = ()
    writes: bool = False
    streams: bool = False
    shows: tuple[str, ...] = ()
    if_match: bool = False
    records_nothing: bool = False
    within_projects: bool = False
    refusals: tuple[type[Refusal], ...] = ()

    def __deepcopy__(self, _memo: dict[int, Any]) -> Operation:
        """Litestar copies its handlers; what never changes need not be."""
        return self

    def as_opt(self) -> dict[str, Operation]:
        """For the `opt` of a Litestar handler."""
        return {_KEY: self}


class UndeclaredRoute(Exception):
    """A route does not say who may use it; the service does not start."""


def operation_of(handler: BaseRouteHandler) -> Operation:
    """The operation a handler declares. Raises UndeclaredRoute."""
    operation = handler.opt.get(_KEY)
    if not isinstance(operation, Operation):
        raise UndeclaredRoute(f"{handler} declares no operation.")
    return operation


def operations(app: Litestar) -> Iterable[tuple[HTTPRoute, HTTPRouteHandler, Operation]]:
    """Every operation with its route, in order of path and method. Raises UndeclaredRoute."""
    for route in sorted((r for r in app.routes if isinstance(r, HTTPRoute)), key=lambda r: r.path):
        # The framework keeps them in a set.
        for handler in sorted(route.route_handlers, key=lambda h: sorted(h.http_methods)):
            if "OPTIONS" not in handler.http_methods:
                yield route, handler, operation_of(handler)
