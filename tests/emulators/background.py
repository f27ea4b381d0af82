"""An event loop in a thread: emulators answer while the test that started them waits for something else."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from aiohttp import web

CALL_SECONDS_MAX = 60.0
T = TypeVar("T")


class Background:
    """A loop that runs until `close`; what is given to it comes from any other thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._runners: list[web.AppRunner] = []
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns, once it has."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(CALL_SECONDS_MAX)

    def serve(self, app: web.Application, port: int = 0) -> int:
        """Serve the application on this machine: the port, a free one unless one is named."""
        return self.run(self.serving(app, port))

    async def serving(self, app: web.Application, port: int = 0, context: ssl.SSLContext | None = None) -> int:
        """The same, from inside the loop, over TLS where there is a context."""
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        listener = socket.create_server(("127.0.0.1", port))
        await web.SockSite(runner, listener, ssl_context=context).start()
        self._runners.append(runner)
        bound: int = listener.getsockname()[1]
        return bound

    def close(self) -> None:
        self.run(self._end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=10)
        self.loop.close()

    async def _end(self) -> None:
        for runner in self._runners:
            await runner.cleanup()
