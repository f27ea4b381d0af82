"""A front end as clouds have before what they run: an address that stays while what answers there changes."""

from __future__ import annotations

from collections.abc import Callable

import aiohttp
from aiohttp import web

from tests.emulators.background import Background
from tests.emulators.images import Container

# Asked of each request: None lets it pass, anything else is the answer.
Guard = Callable[[web.Request], web.Response | None]
_HOP_BY_HOP = {"host", "connection", "transfer-encoding", "content-length", "keep-alive"}


class Front:
    """Listens on a port of its own, from inside the loop of the background that it is given."""

    def __init__(self, chosen: Callable[[], Container | None], guard: Guard) -> None:
        self._chosen, self._guard = chosen, guard
        self._session: aiohttp.ClientSession | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def open(self, background: Background) -> None:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self._forward)
        app.on_cleanup.append(self._close)
        self.port = await background.serving(app)

    async def _forward(self, request: web.Request) -> web.Response:
        if (refusal := self._guard(request)) is not None:
            return refusal
        container = self._chosen()
        if container is None:
            return web.Response(status=404, text="The requested URL was not found on this server.\n")
        if self._session is None:
            self._session = aiohttp.ClientSession(auto_decompress=False)
        return await forwarded(self._session, request, container, request.raw_path)

    async def _close(self, _: web.Application) -> None:
        if self._session is not None:
            await self._session.close()


async def forwarded(
    session: aiohttp.ClientSession, request: web.Request, container: Container, path: str
) -> web.Response:
    """What the container answers at this path."""
    kept = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
    url = f"http://127.0.0.1:{container.port}{path}"
    try:
        async with session.request(
            request.method, url, headers=kept, data=await request.read(), allow_redirects=False
        ) as answer:
            body = await answer.read()
            shown = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
            return web.Response(status=answer.status, body=body, headers=shown)
    except aiohttp.ClientError:
        return web.Response(status=503, text="The service does not answer.\n")
