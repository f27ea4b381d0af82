"""An ASGI application served on a socket that is already listening, for as long as a block runs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn

from process.connection import Connection

# How long requests under way may take once the process is asked to stop.
DRAIN_SECONDS = 5


class _Server(uvicorn.Server):
    """Leaves the signals alone: the process decides when to stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(
    app: Any, listener: socket.socket, *, drain_seconds: int = DRAIN_SECONDS
) -> AsyncIterator[Callable[[], None]]:
    """Serve `app` (ASGI, with its lifespan) inside the block; leaving it drains open requests and closes the socket. What is
    yielded has that begin sooner, for servers that are to drain at the same time.

    Raises RuntimeError when the application's own start fails.
    """
    config = uvicorn.Config(
        app,
        http=Connection,
        log_config=None,
        access_log=False,
        server_header=False,
        # Whoever asks is whoever connected; what a client says of that itself is not believed.
        proxy_headers=False,
        timeout_graceful_shutdown=drain_seconds,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))

    def drain() -> None:
        server.should_exit = True

    try:
        await _started(server, task)
        yield drain
    finally:
        drain()
        await task
        listener.close()


async def _started(server: uvicorn.Server, task: asyncio.Task[None]) -> None:
    while not server.started:
        if task.done():
            task.result()
            raise RuntimeError("the application did not start; its log says why")
        await asyncio.sleep(0.01)
