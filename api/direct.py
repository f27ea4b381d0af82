"""The short way to a handler: found by the routes of Litestar, called without what lies between, which no route of ours uses."""

from __future__ import annotations

from typing import Any

from litestar import Litestar, Request
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from api.admission import admit
from api.answer import Answer
from api.errors import handle
from api.exchange import exchange_of

# What the name of a host may hold.
_HOST = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!$&'()*+,;=-._~:[]@%"


class _Request(Request[Any, Any, Any]):
    """What Litestar keeps of a request beside what it came with is made when somebody asks for it, which few do."""

    __slots__ = ()

    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope, self.receive, self.send = scope, receive, send

    def __getattr__(self, name: str) -> Any:
        super().__init__(self.scope, self.receive, self.send)
        return object.__getattribute__(self, name)


class Direct:
    """An ASGI application that answers as the Litestar application would, in two thirds of the time.

    A handler of ours takes the request and what its address names, and gives an ASGI application. Neither guards nor
    dependencies, hooks or caches are declared anywhere but for `admit`; an address that leads to no handler is left to
    Litestar.
    """

    def __init__(self, app: Litestar) -> None:
        self._app = app
        self._find = app.asgi_router.handle_routing

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        found = self._found(scope) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        handler, path, parameters, template = found
        scope["app"] = scope["litestar_app"] = self._app
        scope["path"], scope["path_params"], scope["path_template"] = path, parameters, template
        scope["route_handler"] = handler
        request = _Request(scope, receive, send)
        answer: Any
        try:
            await admit(request)
            answer = await handler.fn(request=request, **parameters)
        except Exception as error:  # noqa: BLE001 - as Litestar, whose handler of all errors this is
            answer = handle(request, error)
        if not isinstance(answer, Answer):
            answer = await handler.to_response(app=self._app, data=answer, request=request)
        await answer(scope, receive, send)

    def _found(self, scope: Any) -> tuple[HTTPRouteHandler, str, dict[str, Any], str] | None:
        path = scope["path"]
        if "//" in path or path.endswith("/") or exchange_of(scope).headers.get(b"host", b"").translate(None, _HOST):
            return None
        try:
            _, handler, path, parameters, template = self._find(path=path, method=scope["method"])
        except HTTPException:
            return None
        if not isinstance(handler, HTTPRouteHandler) or "OPTIONS" in handler.http_methods:
            return None
        return handler, path, parameters, template
