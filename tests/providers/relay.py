"""A wire between a client and a storage, which can be told to end in the midst of an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

_TAKEN_BYTES = 16 * 1024


class Relay:
    """Passes bytes on, both ways. `cut_after` is how many more come back before a connection is closed, as if that were all."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connections: set[asyncio.Task[None]] = set()
        self.cut_after: int | None = None
        self.cuts = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, to_them = await asyncio.open_connection("127.0.0.1", self._port)
        asking = asyncio.create_task(_passed(reader, to_them))
        try:
            with suppress(ConnectionError):
                while piece := await theirs.read(_TAKEN_BYTES):
                    if self.cut_after is not None and len(piece) >= self.cut_after:
                        writer.write(piece[: self.cut_after])
                        self.cut_after, self.cuts = None, self.cuts + 1
                        break
                    if self.cut_after is not None:
                        self.cut_after -= len(piece)
                    writer.write(piece)
                    await writer.drain()
        finally:
            asking.cancel()
            writer.close()
            to_them.close()


async def _passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(_TAKEN_BYTES):
            writer.write(piece)
            await writer.drain()


@asynccontextmanager
async def relayed(endpoints: str) -> AsyncIterator[tuple[Relay, str]]:
    """A relay to where the endpoints are, and the endpoints behind it."""
    port = urlsplit(endpoints).port
    assert port is not None, endpoints
    relay = Relay(port)
    server = await asyncio.start_server(relay.accept, "127.0.0.1", 0)
    own = server.sockets[0].getsockname()[1]
    try:
        yield relay, endpoints.replace(f":{port}", f":{own}")
    finally:
        server.close()
