"""A pool against a server that is not to be had at this moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from eventstore import database
from eventstore.database import connect

_NOT_NOW = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is shutting down\0\0"


@asynccontextmanager
async def _ending(url: str, *, times: int) -> AsyncIterator[str]:
    """The address of a server that says so many times that it is shutting down, then passes on to the one of the URL."""
    turned_away = 0

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal turned_away
        if turned_away < times:
            turned_away += 1
            await reader.readexactly(8)  # Whether we speak TLS: no.
            writer.write(b"N")
            await reader.read(65536)
            writer.write(b"E" + (len(_NOT_NOW) + 4).to_bytes(4, "big") + _NOT_NOW)
            writer.close()
            return
        query = parse_qs(urlsplit(url).query)
        there, back = await asyncio.open_unix_connection(f"{query['host'][0]}/.s.PGSQL.{query['port'][0]}")
        await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer), return_exceptions=True)

    server = await asyncio.start_server(met, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"postgresql://dcf@127.0.0.1:{port}{urlsplit(url).path}"
    finally:
        server.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while given := await reader.read(65536):
        writer.write(given)
    writer.close()


async def test_one_that_is_ending_or_starting_is_waited_for(database_url: str) -> None:
    async with _ending(database_url, times=2) as url, connect(url, role="dcf_app") as pool:
        assert await pool.fetchval("SELECT 1") == 1


async def test_it_is_not_waited_for_for_ever(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "NOT_NOW_SECONDS_MAX", 0.2)
    async with _ending(database_url, times=1_000) as url:
        with pytest.raises(asyncpg.CannotConnectNowError):
            async with connect(url, role="dcf_app"):
                pass
