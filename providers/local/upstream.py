"""The operator's own way to the internet, an HTTP proxy, for what only leads on to hosts that are named."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Collection
from urllib.parse import unquote, urlsplit

ANSWER_BYTES_MAX = 32 * 1024


class UpstreamRefused(Exception):
    """The proxy says no; the message is its status line."""


class Upstream:
    """Opens tunnels through the proxy, whose password stays here."""

    def __init__(self, proxy: str, hosts: Collection[str]) -> None:
        """`proxy` is `http://[user:password@]host[:port]`. Raises ValueError when it is not."""
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError("the proxy is no http://host:port")
        self._place = (parts.hostname, parts.port or 80)
        self._hosts = frozenset(hosts)
        who = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        self._credential = (
            f"Proxy-Authorization: Basic {b64encode(who.encode()).decode()}\r\n" if parts.username else ""
        )

    def leads_to(self, host: str) -> bool:
        """Whether it is one of its hosts; names are not looked up, since the proxy does that."""
        return host in self._hosts

    async def open(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to one of its hosts; the caller limits the time. Raises OSError and UpstreamRefused."""
        reader, writer = await asyncio.open_connection(*self._place, limit=ANSWER_BYTES_MAX)
        try:
            writer.write(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{self._credential}\r\n".encode())
            answer = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.close()
            raise UpstreamRefused("The proxy of this machine did not answer.") from None
        except BaseException:
            writer.close()
            raise
        status = answer.split(b"\r\n", 1)[0].decode("latin-1")
        if not status.startswith(("HTTP/1.1 2", "HTTP/1.0 2")):
            writer.close()
            raise UpstreamRefused(f"The proxy of this machine answered: {status}")
        return reader, writer
