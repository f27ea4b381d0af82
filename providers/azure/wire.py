"""Calls of Azure's REST APIs: one session for all, bounded in time and size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import aiohttp
import msgspec

from providers.answers import whole_answer
from providers.azure.errors import answered
from providers.provider import ProviderUnreachable

CALL_SECONDS_MAX = 20.0
ANSWER_BYTES_MAX = 16 * 1024 * 1024
CONNECTIONS_MAX = 100

T = TypeVar("T")


class Reply(msgspec.Struct, frozen=True):
    """An answer that is no error. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    content: bytes

    def read(self, answer: type[T]) -> T:
        """The body. Raises ProviderUnreachable when it is something else."""
        try:
            return msgspec.json.decode(self.content or b"{}", type=answer)
        except msgspec.MsgspecError as error:
            raise ProviderUnreachable(f"Azure answered what cannot be read: {error}.") from error


class Wire:
    """The way to Azure. `endpoints` is a URL with `{service}` in it (login, management, blob, registry, apps, logs); without one,
    Azure's own. Make one a process, close it at the end."""

    def __init__(self, endpoints: str | None = None) -> None:
        self._endpoints = endpoints.rstrip("/") if endpoints else None
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
                # Logs are blobs that are read from a byte on.
                auto_decompress=False,
                headers={"Accept-Encoding": "identity"},
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def login(self) -> str:
        return self._root("login") or "https://login.microsoftonline.com"

    @property
    def management(self) -> str:
        return self._root("management") or "https://management.azure.com"

    def blobs(self, account: str) -> str:
        """Where a storage account's blobs are."""
        root = self._root("blob")
        return f"{root}/{account}" if root else f"https://{account}.blob.core.windows.net"

    def registry(self, name: str) -> str:
        """Where a registry's images are."""
        root = self._root("registry")
        return f"{root}/{name.lower()}" if root else f"https://{name.lower()}.azurecr.io"

    def function(self, host: str) -> str:
        """Where an app answers that has this name in the internet."""
        root = self._root("apps")
        return f"{root}/{host}" if root else f"https://{host}"

    def leads_to_management(self, url: str) -> bool:
        """Whether a token for Resource Manager may be sent there: Azure says where to look on, and is held to itself."""
        return url.startswith(f"{self.management}/")

    def leads_to_blobs(self, url: str) -> bool:
        """Whether a link to a build's log leads to Azure's storage."""
        return self._leads(url, "blob", ".blob.core.windows.net")

    def leads_to_logs(self, url: str) -> bool:
        """Whether the place of a replica's log is one of Container Apps."""
        return self._leads(url, "logs", ".azurecontainerapps.dev")

    def _leads(self, url: str, service: str, domain: str) -> bool:
        if root := self._root(service):
            return url.startswith(f"{root}/")
        scheme, _, rest = url.partition("://")
        host = rest.partition("/")[0].partition("?")[0]
        return scheme == "https" and host.endswith(domain) and "@" not in host

    async def call(
        self,
        method: str,
        url: str,
        *,
        token: str = "",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        form: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> Reply:
        """The answer to one call: to `body` as JSON, to a `form`, or to `content` as it is.

        Raises Answered for an error, ProviderUnreachable for none.
        """
        sent = dict(headers or {})
        if token:
            sent["Authorization"] = f"Bearer {token}"
        if body is not None:
            sent["Content-Type"], content = "application/json", msgspec.json.encode(body)
        try:
            async with self.session.request(
                method,
                url,
                params=dict(query or {}),
                headers=sent,
                data=dict(form) if form is not None else content,
                allow_redirects=False,
            ) as response:
                read = await whole_answer(response.content, bytes_max=ANSWER_BYTES_MAX)
                received = {name.lower(): value for name, value in response.headers.items()}
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ProviderUnreachable(f"Azure does not answer: {str(error) or 'it takes too long'}.") from error
        if response.status >= 300:
            path = url.partition("://")[2].partition("/")[2]
            raise answered(response.status, read, path=f"/{path}", retry_after=received.get("retry-after", ""))
        return Reply(response.status, received, read)

    def _root(self, service: str) -> str | None:
        return self._endpoints.replace("{service}", service) if self._endpoints else None
