"""Pass one HTTP request on and its answer back, both as streams, within limits."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, MutableMapping
from typing import Any
from uuid import uuid4

import aiohttp
import msgspec
from multidict import CIMultiDict
from yarl import URL

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

REQUEST_BYTES_MAX = 32 * 1024 * 1024
CONNECT_SECONDS_MAX = 5.0
IDLE_CONNECTION_SECONDS = 15.0
# RFC 9110 7.6.1; `expect` is answered by our own server.
_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
    )
) | frozenset((b"transfer-encoding", b"upgrade", b"expect"))


class Problem(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An error answer of our own (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: tuple[()] = ()
    remedy: str
    correlation_id: str


# What whoever called the function does next; what else is asked here is asked by our own processes.
_REMEDIES = {
    "body_too_large": "Send less in one request.",
    "function_not_found": "Look at the address; GET /api/v1/projects/{projectId}/functions shows what is deployed.",
    "function_not_running": "Ask again as soon as Retry-After says; if that does not help, deploy the function again.",
    "function_replaced": "Ask again as soon as Retry-After says.",
    "function_timeout": "Ask for less at a time, or look into the function: it has as long as its release says to answer.",
    "function_unreachable": "Ask again; if that does not help, look into what the function does when it is asked this.",
}
_OTHERWISE = "Look into the log of the service."


class BodyTooLarge(Exception):
    """The request's body passes REQUEST_BYTES_MAX."""


class ClientGone(Exception):
    """Whoever asked has left."""


def session(
    socket_path: str | None = None, open_socket: Callable[[Any], socket.socket] | None = None
) -> aiohttp.ClientSession:
    """A client fit for relaying: it changes nothing it passes on, keeps no cookies and sets no limit of its own.

    `open_socket` makes the sockets it connects.
    """
    connector = (
        aiohttp.UnixConnector(socket_path, limit=0, keepalive_timeout=IDLE_CONNECTION_SECONDS)
        if socket_path
        else aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_CONNECTION_SECONDS, socket_factory=open_socket)
    )
    return aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS_MAX),
    )


async def relay(
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    client: aiohttp.ClientSession,
    url: URL,
    headers: Headers,
    seconds_max: float | None = None,
) -> None:
    """Answer the ASGI request with what `url` answers. `seconds_max` is for the whole exchange.

    502 when there is no answer, 504 when it comes too late, 413 for a body that is too large; an answer that
    breaks off once it has begun is broken off here too.
    """
    exchange = _Exchange(scope, receive, send)
    try:
        async with asyncio.timeout(seconds_max):
            await exchange.run(client, url, headers)
    except BodyTooLarge:
        await exchange.problem(
            413, "Body too large", "body_too_large", f"At most {REQUEST_BYTES_MAX} bytes are passed on."
        )
    except TimeoutError:
        detail = "The function did not answer in time."
        await exchange.problem(504, "No answer in time", "function_timeout", detail)
    except aiohttp.ClientError:
        await exchange.problem(
            502, "Bad gateway", "function_unreachable", "The function broke off or could not be reached."
        )
    except ClientGone:
        return


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._received = asyncio.Event()  # The whole body.
        self._failure: Exception | None = None
        self._answering = False

    async def run(self, client: aiohttp.ClientSession, url: URL, headers: Headers) -> None:
        """Do it, but no longer than the client stays."""
        passing = asyncio.create_task(self._pass(client, url, headers))
        leaving = asyncio.create_task(self._client_leaves())
        try:
            await asyncio.wait((passing, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not passing.done():
                raise ClientGone
            passing.result()
        except aiohttp.ClientError:
            # The client library wraps what our own body raised.
            raise (self._failure or aiohttp.ClientError()) from None
        finally:
            for task in (passing, leaving):
                task.cancel()
            await asyncio.wait((passing, leaving))

    async def problem(self, status: int, title: str, code: str, detail: str) -> None:
        """Answer with an error, unless an answer has begun: then leaving it unfinished is all that can be said."""
        if not self._answering:
            await send_problem(self._send, status, title, code, detail)

    async def _pass(self, client: aiohttp.ClientSession, url: URL, headers: Headers) -> None:
        # Without a body nothing is awaited from the client before the request goes out.
        has_body = any(
            name in (b"content-length", b"transfer-encoding") and value != b"0"
            for name, value in self._scope["headers"]
        )
        if not has_body:
            self._received.set()
        passed = CIMultiDict((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
        async with client.request(
            self._scope["method"], url, headers=passed, data=self._body() if has_body else None, allow_redirects=False
        ) as answer:
            await self._answer(answer)

    async def _body(self) -> AsyncIterator[bytes]:
        size = 0
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._failure = ClientGone()
                raise self._failure
            chunk, more = message.get("body", b""), message.get("more_body", False)
            size += len(chunk)
            if size > REQUEST_BYTES_MAX:
                self._failure = BodyTooLarge()
                raise self._failure
            if chunk:
                yield chunk
        self._received.set()

    async def _answer(self, answer: aiohttp.ClientResponse) -> None:
        self._answering = True
        # The server in front dates every answer itself.
        headers = end_to_end(((name.lower(), value) for name, value in answer.raw_headers), (b"date",))
        await self._send({"type": "http.response.start", "status": answer.status, "headers": headers})
        async for chunk in answer.content.iter_any():
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        await self._send({"type": "http.response.body", "body": b""})

    async def _client_leaves(self) -> None:
        await self._received.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass


def end_to_end(headers: Headers, drop: Collection[bytes] = ()) -> list[tuple[bytes, bytes]]:
    """Without what concerns one connection only, and without `drop` (names in lower case)."""
    given = list(headers)
    named = {part.strip().lower() for name, value in given if name == b"connection" for part in value.split(b",")}
    return [
        (name, value) for name, value in given if name not in _HOP_BY_HOP and name not in named and name not in drop
    ]


async def send_problem(send: Send, status: int, title: str, code: str, detail: str, headers: Headers = ()) -> None:
    """Answer with application/problem+json."""
    body = msgspec.json.encode(
        Problem(
            type=f"urn:dcf:problem:{code}",
            title=title,
            status=status,
            detail=detail,
            code=code,
            remedy=_REMEDIES.get(code, _OTHERWISE),
            correlation_id=str(uuid4()),
        )
    )
    fixed = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
    await send({"type": "http.response.body", "body": body})
