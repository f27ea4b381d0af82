"""The door before Azurite: it looks at tokens and roles as Azure does, of which Azurite knows the one in part and the other not."""

from __future__ import annotations

import re
from typing import Any
from xml.sax.saxutils import unescape

import aiohttp
import httpx
from aiohttp import web
from yarl import URL

from tests.emulators.azure.answers import Problem
from tests.emulators.azure.azurite.running import Azurite, bearer
from tests.emulators.azure.blobs import Blobs
from tests.emulators.azure.customer import ACCOUNT, Customer

CALL_SECONDS_MAX = 30.0
# Of the connection, or whatever the door says by itself.
_OWN = {"host", "authorization", "connection", "keep-alive", "transfer-encoding", "expect", "accept-encoding"}
_CREATES = {"restype": "container"}
_NAME = re.compile(r"<Name>([^<]+)</Name>")


class BlobsInAzurite(Blobs):
    """One storage account, whose blobs, blocks and links are Azurite's."""

    def __init__(self, customer: Customer, azurite: Azurite) -> None:
        super().__init__(customer)
        self._azurite = azurite
        self._made = set[str]()
        self._session: aiohttp.ClientSession | None = None

    def names(self) -> list[str]:
        found = []
        with self._client() as client:
            for container in sorted(self._made):
                answer = client.get(container, params={"restype": "container", "comp": "list"})
                answer.raise_for_status()
                found += [f"{container}/{unescape(name)}" for name in _NAME.findall(answer.text)]
        return found

    def content(self, place: str) -> bytes:
        with self._client() as client:
            return client.get(place).raise_for_status().content

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _done(self, request: web.Request, place: str, query: Any) -> web.StreamResponse:
        container = place.partition("/")[0]
        if "sig" not in query and query.get("comp") != "userdelegationkey" and container not in self._made:
            await self._make(container)
        content = await request.read()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OWN}
        if "sig" not in query:
            headers["Authorization"] = f"Bearer {bearer()}"
        path = request.raw_path.removeprefix("/blob")
        async with self._client_here().request(
            request.method, URL(f"{self._azurite.url}{path}", encoded=True), headers=headers, data=content or None
        ) as answer:
            body = await answer.read()
            shown = {name: value for name, value in answer.headers.items() if name.lower() not in _OWN}
        if request.method != "HEAD":
            shown.pop("Content-Length", None)
        return web.Response(status=answer.status, body=None if request.method == "HEAD" else body, headers=shown)

    async def _make(self, container: str) -> None:
        """The customer has made it long ago."""
        async with self._client_here().put(
            f"{self._azurite.url}/{ACCOUNT}/{container}", params=_CREATES, headers=_signed()
        ) as answer:
            if answer.status not in (201, 409):
                raise Problem(500, "InternalError", await answer.text())
        self._made.add(container)

    def _client_here(self) -> aiohttp.ClientSession:
        """Made when first asked for, inside the running loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._azurite.context),
                timeout=aiohttp.ClientTimeout(total=CALL_SECONDS_MAX),
                auto_decompress=False,
            )
        return self._session

    def _client(self) -> httpx.Client:
        """The same for whoever asks from another thread."""
        root = f"{self._azurite.url}/{ACCOUNT}/"
        return httpx.Client(verify=self._azurite.context, base_url=root, headers=_signed(), timeout=CALL_SECONDS_MAX)


def _signed() -> dict[str, str]:
    return {"Authorization": f"Bearer {bearer()}", "x-ms-version": "2024-11-04"}
