"""The API on a socket of its own, for what goes on after the answer began."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec

from process.serving import serving
from tests.api.world import World


class Message(msgspec.Struct, frozen=True):
    """One message of an event stream; a comment has neither event nor data."""

    id: str
    event: str
    data: Any


@asynccontextmanager
async def served_at(world: World) -> AsyncIterator[str]:
    """The address. Streams are closed before the server is asked to stop, as the service does."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    async with serving(world.app, listener):
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            world.app.streams.close()


@asynccontextmanager
async def served(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """The owner's client."""
    headers = {"Authorization": f"Bearer {world.owner_key}"}
    async with (
        served_at(world) as address,
        httpx.AsyncClient(base_url=address, headers=headers, timeout=20) as client,
    ):
        yield client


@asynccontextmanager
async def stream(client: httpx.AsyncClient, path: str, **headers: str) -> AsyncIterator[AsyncIterator[Message]]:
    """The messages of a stream; leaving the block cuts it."""
    asked = {"Accept": "text/event-stream", **headers}
    async with client.stream("GET", f"/api/v1{path}", headers=asked) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield _messages(answer.aiter_lines())


async def _messages(lines: AsyncIterator[str]) -> AsyncIterator[Message]:
    fields: dict[str, str] = {}
    async for line in lines:
        name, colon, value = line.partition(": ")
        if colon and name:
            fields[name] = value
        elif not line and "id" in fields:
            data = json.loads(fields["data"]) if "data" in fields else None
            yield Message(fields["id"], fields.get("event", ""), data)
            fields = {}
