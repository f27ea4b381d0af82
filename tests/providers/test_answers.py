"""An answer is read whole, in however many pieces it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from providers.answers import whole_answer
from providers.azure.wire import Wire as AzureWire
from providers.gcp.wire import Wire as GcpWire

# The second piece leaves once the first was read, were it read alone.
PIECES = (b'{"items": ["', b"x" * 100_000, b'"]}')
APART_SECONDS = 0.05


@asynccontextmanager
async def _in_pieces() -> AsyncIterator[str]:
    """The address of who answers so."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(b"".join(PIECES)))
        for piece in PIECES:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(APART_SECONDS)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_google_is_heard_out() -> None:
    async with _in_pieces() as url:
        wire = GcpWire(url)
        try:
            heard = await wire.call("GET", "run", "/v2/services", dict[str, Any])
        finally:
            await wire.close()

    assert heard == {"items": ["x" * 100_000]}


async def test_azure_is_heard_out() -> None:
    async with _in_pieces() as url:
        wire = AzureWire(url)
        try:
            heard = await wire.call("GET", f"{url}/subscriptions")
        finally:
            await wire.close()

    assert heard.read(dict[str, Any]) == {"items": ["x" * 100_000]}


async def test_what_is_too_long_is_cut_off() -> None:
    async with _in_pieces() as url, aiohttp.ClientSession() as session, session.get(url) as response:
        assert await whole_answer(response.content, bytes_max=20) == b'{"items": ["xxxxxxxx'
