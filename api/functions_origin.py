"""The functions' own origin: a request for /{tenant}/{project}/{function}/… goes on to the function that serves there."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol
from urllib.parse import unquote

import structlog
from prometheus_client import Counter

from api.admission import header_repeated
from api.auth import Authenticator
from api.errors import answer_to, refusal_of
from api.exchange import open_exchange
from api.refusals import CredentialUnknown, FunctionUnavailable, PermissionMissing
from domain.refusal import NotFound
from domain.release import Access
from providers.local.records import Route
from providers.provider import ProviderUnreachable

_CALLS = Counter("dcf_function_calls", "Requests to functions, by what became of them.", ("outcome",))
Address = tuple[str, str, str]


class FunctionNotHere(NotFound):
    """No function answers here."""

    code = "function_not_here"
    remedy = "Deploy a function, and call the url its deployment shows."


class Functions(Protocol):
    """The way to the functions of this machine."""

    async def route(self, address: Address) -> Route | None: ...

    async def forward(
        self,
        scope: Any,
        receive: Any,
        send: Any,
        *,
        address: Address,
        cleared: Access,
        path: bytes,
        drop: Collection[bytes] = (),
    ) -> None: ...


class FunctionsOrigin:
    """An ASGI application. Public functions are open; private ones ask for an API key of their tenant."""

    def __init__(self, functions: Functions, authenticator: Authenticator) -> None:
        self._functions, self._authenticator = functions, authenticator

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        match scope["type"]:
            case "lifespan":
                await _live(receive, send)
            case "http":
                open_exchange(scope)
                await self._answered(scope, receive, send)
            case _:
                await send({"type": "websocket.close"})

    async def _answered(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            address, path = _split(scope["raw_path"])
            route = await self._route(address)
            cleared, drop = await self._cleared(route, _authorizations(scope))
        except Exception as error:  # noqa: BLE001 - whatever went wrong before the function was asked is answered here
            refusal = refusal_of(error)
            _CALLS.labels(refusal.code).inc()
            await answer_to(scope, refusal)(scope, receive, send)
            return
        _CALLS.labels("forwarded").inc()
        await self._functions.forward(scope, receive, send, address=address, cleared=cleared, path=path, drop=drop)

    async def _route(self, address: Address) -> Route:
        try:
            route = await self._functions.route(address)
        except ProviderUnreachable as error:
            structlog.get_logger().warning("agent_unreachable", problem=error.message)
            raise FunctionUnavailable from error
        if route is None:
            raise FunctionNotHere
        return route

    async def _cleared(self, route: Route, authorizations: list[str]) -> tuple[Access, Collection[bytes]]:
        """What the caller may reach, and the headers that stay behind: a credential of ours is not the function's business."""
        match route.access:
            case "public":
                return "public", (b"authorization",) if any(map(_is_ours, authorizations)) else ()
            case "private":
                if len(authorizations) > 1:
                    raise header_repeated(b"authorization")
                principal = await self._authenticator.principal(authorizations[0] if authorizations else None)
                if principal.tenant_id != route.tenant_id or not principal.is_for(route.project_id):
                    raise CredentialUnknown
                if "functions:call" not in principal.permissions:
                    raise PermissionMissing
                return "private", (b"authorization",)


def _split(raw_path: bytes) -> tuple[Address, bytes]:
    """The address in front, and what follows it as it was sent. Raises FunctionNotHere."""
    match raw_path.split(b"/", 4):
        case [b"", tenant, project, function, *rest] if tenant and project and function:
            address = (_text(tenant), _text(project), _text(function))
            return address, b"".join(rest)
        case _:
            raise FunctionNotHere


def _text(segment: bytes) -> str:
    return unquote(segment.decode("latin-1"))


def _authorizations(scope: Any) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"]


def _is_ours(authorization: str) -> bool:
    """Whether a key of ours may stand in it: in whatever spelling, it is never handed to a function."""
    return "dcf_" in authorization.lower()


async def _live(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
