"""Calls of Google's REST APIs: one session for all, bounded in time and size."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, TypeVar

import aiohttp
import msgspec

from providers.answers import whole_answer
from providers.gcp.errors import Answered, answered
from providers.provider import ProviderUnreachable

CALL_SECONDS_MAX = 20.0
ANSWER_BYTES_MAX = 16 * 1024 * 1024
CONNECTIONS_MAX = 100

T = TypeVar("T")


class Wire:
    """The way to Google Cloud. `endpoints` is a URL with `{service}` in it. Make one a process, close it at the end."""

    def __init__(self, endpoints: str) -> None:
        self._endpoints = endpoints.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """Made when first asked for, inside the running loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
                timeout=aiohttp.ClientTimeout(total=CALL_SECONDS_MAX),
                # What a cloud sets is of no use to us, and tenants share the session.
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def root(self, service: str) -> str:
        """Where a service answers, such as `https://run.googleapis.com`."""
        return self._endpoints.replace("{service}", service)

    async def call(
        self,
        method: str,
        service: str,
        path: str,
        answer: type[T],
        *,
        token: str = "",
        query: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> T:
        """The answer to one call. `path` begins with a slash and is already encoded.

        Raises Answered for an error, ProviderUnreachable for none.
        """
        url = self.root(service) + path
        return await self.call_at(method, url, answer, of=service, token=token, query=query, body=body)

    async def call_at(self, method: str, url: str, answer: type[T], *, of: str, **rest: Any) -> T:
        """The same at an address of its own; `of` says whose it is, and the rest is that of `exchange`."""
        content = await self.exchange(method, url, of=of, **rest)
        try:
            return msgspec.json.decode(content or b"{}", type=answer)
        except msgspec.MsgspecError as error:
            raise ProviderUnreachable(f"{of} answered what cannot be read: {error}.") from error

    async def exchange(
        self,
        method: str,
        url: str,
        *,
        of: str,
        token: str = "",
        query: Mapping[str, str] | None = None,
        body: Any = None,
        media_type: str = "application/json",
        context: ssl.SSLContext | None = None,
    ) -> bytes:
        """The answer's bytes, from who is trusted by the context, or by everybody. Raises as `call` does."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            headers["Content-Type"] = media_type
        try:
            async with self.session.request(
                method,
                url,
                params=dict(query or {}),
                headers=headers,
                data=None if body is None else msgspec.json.encode(body),
                allow_redirects=False,
                ssl=context or True,
            ) as response:
                content = await whole_answer(response.content, bytes_max=ANSWER_BYTES_MAX)
                if response.status >= 300:
                    raise answered(response.status, content, response.headers.get("Retry-After", ""))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ProviderUnreachable(f"{of} does not answer: {str(error) or 'it takes too long'}.") from error
        return content

    async def found(self, method: str, service: str, path: str, answer: type[T], **rest: Any) -> T | None:
        """The answer to one call, or None when there is no such thing."""
        try:
            return await self.call(method, service, path, answer, **rest)
        except Answered as error:
            if error.http_status == 404:
                return None
            raise
