"""What a route says of itself: who may use it, what it takes and what it answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from litestar import Litestar
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.routes import HTTPRoute

from api.principal import Permission

_KEY = "operation"


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """A query parameter; `type` is what it converts to."""

    name: str
    type: Any
    description: str


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of the API. `answers` gives the type of the body for each status of success; None: no body.

    `gives` is the media type of these bodies. `name` is its operationId. `writes`: it takes Idempotency-Key and Prefer, and
    answers with Event-Position.
    `streams`: asked for text/event-stream it goes on with what is new, from Last-Event-ID.
    """

    name: str
    permission: Permission | Literal["public"]
    summary: str
    tag: str
    answers: dict[int, Any]
    gives: str = "application/json"
    takes: Any = None
    takes_form: bool = False
    example: Any = None
    query: tuple[Parameter, ...] = ()
    writes: bool = False
    streams: bool = False
    refusals: tuple[int, ...] = ()

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
    """Every operation with its route, in order of path. Raises UndeclaredRoute."""
    for route in sorted((r for r in app.routes if isinstance(r, HTTPRoute)), key=lambda r: r.path):
        for handler in route.route_handlers:
            if "OPTIONS" not in handler.http_methods:
                yield route, handler, operation_of(handler)
