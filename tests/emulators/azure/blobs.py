"""The few operations on blobs that we use, with the conditions, checks and signatures that they have in Azure."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

from aiohttp import web
from azure.storage.blob import UserDelegationKey, generate_blob_sas

from tests.emulators.azure.answers import Problem
from tests.emulators.azure.customer import CLIENT, DIRECTORY, Customer, path_of

AUDIENCE = "https://storage.azure.com"
_KIND = "Microsoft.Storage/storageAccounts"
_TIME = "%a, %d %b %Y %H:%M:%S GMT"


@dataclass
class Blob:
    content: bytes
    metadata: dict[str, str]
    md5: str
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass
class Blobs:
    """One storage account."""

    customer: Customer
    kept: dict[str, Blob] = field(default_factory=dict)
    waiting: dict[str, dict[str, bytes]] = field(default_factory=dict)
    key: UserDelegationKey | None = None

    def names(self) -> list[str]:
        """Those of all blobs, with their containers'."""
        return list(self.kept)

    def content(self, place: str) -> bytes:
        """A blob's bytes."""
        return self.kept[place].content

    async def close(self) -> None:
        """Nothing is left open."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        place, query = request.match_info["place"], request.query
        try:
            return await self._answered(request, place, query)
        except Problem as problem:
            code = problem.code
            text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
            return web.Response(
                status=problem.status,
                body=b"" if request.method == "HEAD" else text.encode(),
                content_type="application/xml",
                headers={"x-ms-error-code": code},
            )

    async def _answered(self, request: web.Request, place: str, query: Any) -> web.StreamResponse:
        if "sig" not in query:
            self._admit(request, query)
            if query.get("comp") != "userdelegationkey" and place.partition("/")[0] not in self.customer.containers:
                raise Problem(404, "ContainerNotFound")
        return await self._done(request, place, query)

    async def _done(self, request: web.Request, place: str, query: Any) -> web.StreamResponse:
        """What was asked by somebody who may, or has a link."""
        container = place.partition("/")[0]
        if "sig" in query:
            self._check_signature(request, place)
            return part(request, self._found(place).content)
        if query.get("comp") == "userdelegationkey":
            return self._delegated(await request.text())
        if query.get("restype") == "container":
            return self._listed(container, query) if query.get("comp") == "list" else _empty(200)
        match request.method, query.get("comp", ""):
            case "PUT", "block":
                return self._block(place, query["blockid"], await _body(request))
            case "PUT", "blocklist":
                return self._commit(request, place, await _body(request))
            case "PUT", "":
                return self._put(request, place, await _body(request))
            case "GET", "blocklist":
                return self._block_list(place)
            case (("GET" | "HEAD"), ""):
                return part(request, self._found(place).content, self._found(place))
            case "DELETE", "":
                self._found(place)
                del self.kept[place]
                return _empty(202)
            case _:
                raise Problem(400, "InvalidInput")

    def _admit(self, request: web.Request, query: Any) -> None:
        if "x-ms-version" not in request.headers:
            raise Problem(400, "MissingRequiredHeader")
        try:
            principal = self.customer.admit(request, AUDIENCE)
        except Problem:
            raise Problem(401, "InvalidAuthenticationInfo") from None
        if request.match_info["account"] in self.customer.closed:
            raise Problem(403, "AuthorizationFailure")
        path = path_of(_KIND, request.match_info["account"])
        services = f"{_KIND}/blobServices"
        if query.get("comp") == "userdelegationkey":
            allowed = self.customer.may(principal, f"{services}/generateUserDelegationKey/action", path)
        else:
            verb = {"GET": "read", "HEAD": "read", "DELETE": "delete"}.get(request.method, "write")
            allowed = self.customer.may(principal, f"{services}/containers/blobs/{verb}", path, data=True)
        if not allowed:
            raise Problem(403, "AuthorizationPermissionMismatch")

    def _found(self, place: str) -> Blob:
        if place not in self.kept:
            raise Problem(404, "BlobNotFound")
        return self.kept[place]

    def _put(self, request: web.Request, place: str, content: bytes) -> web.Response:
        if request.headers.get("x-ms-blob-type") != "BlockBlob":
            raise Problem(400, "InvalidHeaderValue")
        self._check_free(request, place)
        self.kept[place] = _made(request, content)
        return _empty(201)

    def _block(self, place: str, block_id: str, content: bytes) -> web.Response:
        self.waiting.setdefault(place, {})[block_id] = content
        return _empty(201)

    def _commit(self, request: web.Request, place: str, body: bytes) -> web.Response:
        self._check_free(request, place)
        there, wanted = self.waiting.get(place, {}), re.findall(r"<Latest>(.+?)</Latest>", body.decode())
        if not wanted or any(block_id not in there for block_id in wanted):
            raise Problem(400, "InvalidBlockList")
        self.kept[place] = _made(request, b"".join(there[block_id] for block_id in wanted))
        self.waiting.pop(place)
        return _empty(201)

    def _block_list(self, place: str) -> web.Response:
        if place not in self.waiting and place not in self.kept:
            raise Problem(404, "BlobNotFound")
        blocks = "".join(
            f"<Block><Name>{block_id}</Name><Size>{len(content)}</Size></Block>"
            for block_id, content in self.waiting.get(place, {}).items()
        )
        return _xml(f"<BlockList><UncommittedBlocks>{blocks}</UncommittedBlocks></BlockList>")

    def _check_free(self, request: web.Request, place: str) -> None:
        if request.headers.get("If-None-Match") == "*" and place in self.kept:
            raise Problem(409, "BlobAlreadyExists")

    def _listed(self, container: str, query: Any) -> web.Response:
        prefix = f"{container}/{query.get('prefix', '')}"
        names = sorted(place.partition("/")[2] for place in self.kept if place.startswith(prefix))
        times = {name: self.kept[f"{container}/{name}"].at.strftime(_TIME) for name in names}
        items = "".join(
            f"<Blob><Name>{escape(name)}</Name><Properties><Last-Modified>{time}</Last-Modified><BlobType>BlockBlob</BlobType></Properties></Blob>"
            for name, time in times.items()
        )
        return _xml(f"<EnumerationResults><Blobs>{items}</Blobs><NextMarker/></EnumerationResults>")

    def _delegated(self, body: str) -> web.Response:
        if "<Expiry>" not in body:
            raise Problem(400, "InvalidXmlDocument")
        start, expiry = (re.findall(f"<{name}>(.+?)</{name}>", body)[0] for name in ("Start", "Expiry"))
        self.key = key = UserDelegationKey()  # type: ignore[no-untyped-call]
        key.signed_oid, key.signed_tid, key.signed_start, key.signed_expiry = CLIENT, DIRECTORY, start, expiry
        key.signed_service, key.signed_version = "b", "2020-02-10"
        key.value = base64.b64encode(hashlib.sha256(b"delegated").digest()).decode()
        return _xml(
            f"<UserDelegationKey><SignedOid>{CLIENT}</SignedOid><SignedTid>{DIRECTORY}</SignedTid>"
            f"<SignedStart>{start}</SignedStart><SignedExpiry>{expiry}</SignedExpiry><SignedService>b</SignedService>"
            f"<SignedVersion>{key.signed_version}</SignedVersion><Value>{key.value}</Value></UserDelegationKey>"
        )

    def _check_signature(self, request: web.Request, place: str) -> None:
        """Sign the same again, by Microsoft's own code, and compare."""
        query, (container, _, name) = request.query, place.partition("/")
        if self.key is None or request.method != "GET" or "r" not in query["sp"]:
            raise Problem(403, "AuthenticationFailed")
        again = generate_blob_sas(
            request.match_info["account"],
            container,
            name,
            user_delegation_key=self.key,
            permission=query["sp"],
            start=query["st"],
            expiry=query["se"],
        )
        ends = datetime.fromisoformat(query["se"])
        if f"sig={query['sig']}" not in _unquoted(again) or ends < datetime.now(UTC) - timedelta(seconds=1):
            raise Problem(403, "AuthenticationFailed")


def part(request: web.Request, content: bytes, blob: Blob | None = None) -> web.Response:
    """The content, or the range of it that is asked for."""
    at = blob.at if blob else datetime.now(UTC)
    headers = {"Last-Modified": at.strftime(_TIME), "ETag": '"1"', "x-ms-blob-type": "BlockBlob"}
    for name, value in (blob.metadata if blob else {}).items():
        headers[f"x-ms-meta-{name}"] = value
    wanted = re.match(r"bytes=(\d+)-(\d*)", request.headers.get("x-ms-range", request.headers.get("Range", "")))
    if wanted is None:
        if request.method == "HEAD":
            headers["Content-Length"] = str(len(content))
        return web.Response(body=content if request.method == "GET" else None, headers=headers)
    first, last = int(wanted[1]), int(wanted[2] or len(content))
    if first >= len(content):
        raise Problem(416, "InvalidRange")
    piece = content[first : last + 1]
    headers["Content-Range"] = f"bytes {first}-{first + len(piece) - 1}/{len(content)}"
    return web.Response(status=206, body=piece, headers=headers)


async def _body(request: web.Request) -> bytes:
    """The body, which must be what its checksum says."""
    content = await request.read()
    given = request.headers.get("Content-MD5")
    if given is not None and given != base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode():
        raise Problem(400, "Md5Mismatch")
    return content


def _made(request: web.Request, content: bytes) -> Blob:
    prefix = "x-ms-meta-"
    metadata = {n.lower().removeprefix(prefix): v for n, v in request.headers.items() if n.lower().startswith(prefix)}
    return Blob(content, metadata, request.headers.get("x-ms-blob-content-md5", ""))


def _empty(status: int) -> web.Response:
    now = datetime.now(UTC).strftime(_TIME)
    return web.Response(status=status, headers={"ETag": '"1"', "Last-Modified": now, "x-ms-request-id": "0"})


def _xml(text: str) -> web.Response:
    return web.Response(body=f"<?xml version='1.0' encoding='utf-8'?>{text}".encode(), content_type="application/xml")


def _unquoted(text: str) -> str:
    return unquote(text)
