"""The way out of what has a network of its own: an HTTP proxy that leads to the internet, and nowhere else."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Collection
from contextlib import suppress
from urllib.parse import urlsplit

from process.outbound import Address, Reachable
from providers.local.opener import PROXY_PORT
from providers.local.upstream import Upstream, UpstreamRefused

HEAD_BYTES_MAX = 32 * 1024
HEAD_SECONDS_MAX = 10.0
CONNECT_SECONDS_MAX = 10.0
IDLE_SECONDS_MAX = 600.0
# Of one function, at a time.
CONNECTIONS_MAX = 128
_CHUNK_BYTES = 64 * 1024
_PUBLIC = Reachable()


_BESIDE = "localhost,127.0.0.1,::1"


def proxy_variables(beside: str = _BESIDE) -> dict[str, str]:
    """What tells an HTTP client the way; that of Dart heeds it by itself. `beside`: which hosts it reaches without."""
    proxy = f"http://127.0.0.1:{PROXY_PORT}"
    names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
    return {**dict.fromkeys(names, proxy), **dict.fromkeys(("no_proxy", "NO_PROXY"), beside)}


def is_outside(address: Address) -> bool:
    """Whether it is on the internet: not this machine under any of its addresses, no private network, no cloud's metadata."""
    if not _PUBLIC.allows(address):
        return False
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect((str(address), 9))  # Of a datagram socket it sends nothing.
        except OSError:
            return False
        # What is this machine's own is reached from that very address.
        return ipaddress.ip_address(asking.getsockname()[0]) != address


class Refused(Exception):
    """Answered with this status."""

    def __init__(self, status: str, words: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words


class Outbound:
    """`CONNECT host:port`, and requests for `http://…`. Names are looked up here, and what was judged is what is connected to."""

    def __init__(
        self,
        may_reach: Callable[[Address], bool] = is_outside,
        *,
        chosen: Collection[tuple[str, int]] = (),
        upstream: Upstream | None = None,
    ) -> None:
        """`chosen`: hosts and ports that the operator named, reached wherever they are. `upstream` leads to its own hosts."""
        self._may_reach = may_reach
        self._chosen = frozenset(chosen)
        self._upstream = upstream

    async def serve(self, listener: socket.socket) -> asyncio.Server:
        """Take connections of one function until the server is closed."""
        places = asyncio.Semaphore(CONNECTIONS_MAX)

        async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            async with places:
                await self._serve_one(reader, writer)

        return await asyncio.start_server(serve_one, sock=listener, limit=HEAD_BYTES_MAX)

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HEAD_SECONDS_MAX):
                head = await reader.readuntil(b"\r\n\r\n")
            host, port, first = understood(head)
            there, back = await self._open(host, port)
            if first:
                back.write(first)
            else:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            try:
                await _both_ways(reader, back, there, writer)
            finally:
                back.close()
        except Refused as refusal:
            body = f"{refusal.words}\n".encode()
            head_lines = f"HTTP/1.1 {refusal.status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            writer.write(head_lines.encode() + body)
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(HEAD_SECONDS_MAX):
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # It left, or says nothing that could be understood.
        finally:
            writer.close()

    async def _open(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                if self._upstream and self._upstream.leads_to(host):
                    return await self._upstream.open(host, port)
                chosen = (host, port) in self._chosen
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
                addresses = [str(one[4][0]) for one in found]
                allowed = [one for one in addresses if chosen or self._may_reach(ipaddress.ip_address(one))]
                if not allowed:
                    words = (
                        "Functions and builds of this machine reach the internet, not this machine or its neighbours."
                    )
                    raise Refused("403 Forbidden", words)
                failure: OSError = OSError()
                for address in allowed:
                    try:
                        return await asyncio.open_connection(address, port)
                    except OSError as error:
                        failure = error
                raise failure
        except UpstreamRefused as refusal:
            raise Refused("502 Bad Gateway", str(refusal)) from None
        except TimeoutError:
            raise Refused("504 Gateway Timeout", "There was no answer in time.") from None
        except (OSError, ValueError):  # Of no name at all, or of one that none can have.
            raise Refused("502 Bad Gateway", "It could not be reached.") from None


def understood(head: bytes) -> tuple[str, int, bytes]:
    """Which host and port a request is for, and what to send there first. Raises Refused."""
    line, _, rest = head.decode("latin-1").partition("\r\n")
    match line.split(" "):
        case ["CONNECT", place, _]:
            return *_place(f"//{place}", 443), b""
        case [method, url, version] if url.lower().startswith("http://"):
            return *_place(url, 80), _in_origin_form(method, url, version, rest)
        case _:
            raise Refused("400 Bad Request", "This leads to the internet; it is asked with CONNECT or http://.")


def _place(url: str, port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or port
    except ValueError:
        host = ""
    if not host:
        raise Refused("400 Bad Request", "There is no host and port in it.")
    return host, port


def _in_origin_form(method: str, url: str, version: str, rest: str) -> bytes:
    """The request as its server takes it, for one exchange: the next may be for another server."""
    parts = urlsplit(url)
    path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    kept = [one for one in rest.split("\r\n") if one and not one.lower().startswith(("connection:", "proxy-"))]
    return "\r\n".join([f"{method} {path} {version}", *kept, "Connection: close", "", ""]).encode("latin-1")


async def _both_ways(
    reader: asyncio.StreamReader, back: asyncio.StreamWriter, there: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    pulse = _Pulse()
    pumps = (asyncio.create_task(_pump(reader, back, pulse)), asyncio.create_task(_pump(there, writer, pulse)))
    try:
        await asyncio.gather(*pumps)
    finally:
        for one in pumps:
            one.cancel()


class _Pulse:
    """When anything went either way last: a download says nothing upwards for as long as it takes."""

    def __init__(self) -> None:
        self.beat()

    def beat(self) -> None:
        self._at = asyncio.get_running_loop().time()

    @property
    def stops_at(self) -> float:
        return self._at + IDLE_SECONDS_MAX


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pulse: _Pulse) -> None:
    while chunk := await _chunk(reader, pulse):
        pulse.beat()
        async with asyncio.timeout(IDLE_SECONDS_MAX):
            writer.write(chunk)
            await writer.drain()
    with suppress(OSError):
        writer.write_eof()


async def _chunk(reader: asyncio.StreamReader, pulse: _Pulse) -> bytes:
    """What comes next, empty at the end. Raises TimeoutError when nothing went either way for too long."""
    while True:
        try:
            async with asyncio.timeout_at(pulse.stops_at):
                return await reader.read(_CHUNK_BYTES)
        except TimeoutError:
            if pulse.stops_at <= asyncio.get_running_loop().time():
                raise
