"""Server-Sent Events: an answer that goes on for as long as its caller listens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

from litestar import Request

from api.answer import Answer, Header
from api.exchange import exchange_of
from api.permit import Permit
from domain.refusal import Busy

T = TypeVar("T")

MEDIA_TYPE = "text/event-stream"
# What one process keeps open; each takes a connection of the caller's and a little memory.
STREAMS_MAX = 500
# Each makes what it sends, and keeps some megabytes while it does.
DOWNLOADS_MAX = 4
# What a client that was cut off waits before it comes back.
RETRY_MILLISECONDS = 2_000
_KEY = "streams"

_HEADERS: tuple[Header, ...] = (
    (b"content-type", f"{MEDIA_TYPE}; charset=utf-8".encode()),
    (b"cache-control", b"no-store"),
    # Proxies that collect an answer before they pass it on are asked not to.
    (b"x-accel-buffering", b"no"),
)


class StreamsFull(Busy):
    """As many streams are open as this process can keep; come back in a moment."""

    code = "streams_full"
    remedy = "End a stream that nobody reads, or ask page by page."


class EventStream(Answer):
    """An answer that sends what an iterator yields until that ends, the caller leaves or may not listen any more, or the
    process stops."""

    __slots__ = ("_chunks", "_closing", "_permit")

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        closing: asyncio.Event,
        permit: Permit,
        headers: Sequence[Header] = _HEADERS,
    ) -> None:
        super().__init__(b"")
        self.headers = list(headers)
        self._chunks, self._closing, self._permit = chunks, closing, permit

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": list(self.headers)})
        if exchange_of(scope).is_head:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        sending = asyncio.create_task(self._send(send))
        leaving = asyncio.create_task(_left(receive))
        closing = asyncio.create_task(self._closing.wait())
        losing = asyncio.create_task(self._permit.lost())
        tasks: set[asyncio.Task[Any]] = {sending, leaving, closing, losing}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if sending in done:
            sending.result()
        if leaving not in done:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Any) -> None:
        async with contextlib.aclosing(self._chunks):
            async for chunk in self._chunks:
                if not await self._permit.holds():
                    return
                await send({"type": "http.response.body", "body": chunk, "more_body": True})


class Streams:
    """The streams a process has open."""

    def __init__(self, streams_max: int = STREAMS_MAX, downloads_max: int = DOWNLOADS_MAX) -> None:
        self._room, self._downloads = streams_max, downloads_max
        self._closing = asyncio.Event()

    def open(self, items: AsyncIterator[T], message: Callable[[T], Awaitable[bytes]], *, permit: Permit) -> EventStream:
        """A stream of the items, each as its message, for as long as the permit holds. Raises StreamsFull."""
        if self._room <= 0:
            raise StreamsFull
        return EventStream(self._chunks(items, message), self._closing, permit)

    def download(
        self, content: AsyncGenerator[bytes, None], headers: Sequence[Header], *, permit: Permit
    ) -> EventStream:
        """Bytes that are made while they are sent. Raises StreamsFull."""
        if self._downloads <= 0:
            raise StreamsFull
        return EventStream(self._downloaded(content), self._closing, permit, headers)

    async def _downloaded(self, content: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        self._downloads -= 1
        try:
            async with contextlib.aclosing(content):
                async for chunk in content:
                    yield chunk
        finally:
            self._downloads += 1

    async def _chunks(
        self, items: AsyncIterator[T], message: Callable[[T], Awaitable[bytes]]
    ) -> AsyncGenerator[bytes, None]:
        self._room -= 1
        try:
            yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
            async for item in items:
                yield await message(item)
        finally:
            self._room += 1
            if isinstance(items, AsyncGenerator):
                await items.aclose()

    def close(self) -> None:
        """End every stream, now and from here on: whoever listened comes back to another process."""
        self._closing.set()

    def as_state(self) -> dict[str, Any]:
        """The application state in which `streams_of` finds them."""
        return {_KEY: self}


def streams_of(request: Request[Any, Any, Any]) -> Streams:
    """The streams of the application a request came to."""
    return cast("Streams", request.app.state[_KEY])


def wants_stream(request: Request[Any, Any, Any]) -> bool:
    """Whether the caller asks to follow, rather than for a page."""
    return MEDIA_TYPE in (exchange_of(request.scope).header(b"accept") or "")


async def _left(receive: Any) -> None:
    with contextlib.suppress(Exception):
        while (await receive())["type"] != "http.disconnect":
            pass
