"""The customer's bucket: what is staged there, conditionally and checked, for one deployment at a time."""

from __future__ import annotations

import asyncio
import base64
import io
from datetime import datetime
from typing import IO, Any

import aiohttp
import msgspec
from gcloud.aio.storage import Storage

from providers.gcp.account import Account
from providers.gcp.errors import Answered, answered
from providers.gcp.grants import lacking_on_bucket, of_bucket
from providers.provider import Bundle, FilePage, ListedFile, ProviderRefused, ProviderUnreachable
from providers.spool import digest_in, fill, md5_in, piece_at, size_of

# Larger ones are sent in pieces, and go on after a cut where it left off.
RESUMABLE_BYTES_MIN = 8 * 1024 * 1024
PIECE_BYTES = 4 * 1024 * 1024  # A multiple of 256 KiB, as Google asks.
CUTS_MAX = 5
CUT_SECONDS = 0.2
OBJECTS_MAX = 1000
_SHA256 = "dcf-sha256"
_DEPLOYMENT = "dcf-deployment"
# How Google refuses bytes that are others than their hash tells; it has no code of its own for it.
_DAMAGED = "match calculated MD5 hash"
_DART = "dcf-dart"


class Staged(msgspec.Struct, frozen=True):
    """A bundle in the bucket. `generation` names exactly these bytes; `dart` is the version its Dockerfile builds with."""

    bundle: Bundle
    bucket: str
    name: str
    generation: str
    dart: str


class _Token:
    """What the storage library asks for its token."""

    def __init__(self, account: Account) -> None:
        self._account = account

    async def get(self) -> str:
        return await self._account.token()


class Bucket:
    """One bucket, as one account sees it."""

    def __init__(self, account: Account, name: str) -> None:
        self._account, self._name = account, name
        # The library is typed for its own tokens and for another kind of session; it asks no more of these.
        library: Any = Storage
        self._storage = library(
            session=account.wire.session,
            token=_Token(account),
            api_root=account.wire.root("storage"),
            api_is_dev=False,
        )

    async def require(self) -> None:
        """Raises ProviderRefused where there is no such bucket, or Answered."""
        path = f"/storage/v1/b/{self._name}"
        try:
            await self._account.call("GET", "storage", path, dict[str, Any])
        except Answered as error:
            raise of_bucket(error, self._name, self._account.identity) from error

    async def stage(self, name: str, content: IO[bytes], *, deployment_id: str, dart: str) -> Staged:
        """Put the bundle there, unless it is there already: nothing is ever overwritten.

        Raises ProviderRefused when something else has the name, ProviderUnreachable when it arrived damaged.
        """
        digest = digest_in(content)
        metadata = {_SHA256: digest, _DEPLOYMENT: deployment_id, _DART: dart}
        made = await self._put_new(name, content, metadata, "application/gzip")
        return await self._there_before(name, digest) if made is None else self._staged(name, made)

    async def put(self, name: str, content: IO[bytes], metadata: dict[str, str], media_type: str) -> bool:
        """Put the bytes there, unless something has the name: whether they were. Raises ProviderUnreachable when they
        arrived damaged."""
        return await self._put_new(name, content, metadata, media_type) is not None

    async def read_into(self, name: str, into: IO[bytes], *, bytes_max: int) -> datetime | None:
        """Write the object down, cut off somewhere behind so many bytes, and tell its age; None when there is none."""
        metadata = await self._metadata(name)
        if metadata is None:
            return None

        async def read(first: int, size_bytes: int) -> bytes:
            return await self.read(name, first=first, last=first + size_bytes - 1)

        await fill(into, read, piece_bytes=PIECE_BYTES, bytes_max=bytes_max)
        return datetime.fromisoformat(metadata["updated"])

    async def page(self, prefix: str, cursor: str) -> FilePage:
        """The objects whose names begin so, OBJECTS_MAX at a time."""
        wanted = {"prefix": prefix, "maxResults": str(OBJECTS_MAX), **({"pageToken": cursor} if cursor else {})}
        page = await self._listed(wanted)
        items = [
            ListedFile(name=str(item["name"]), at=datetime.fromisoformat(item["updated"]))
            for item in page.get("items", [])
        ]
        return FilePage(items=tuple(items), next_cursor=str(page.get("nextPageToken", "")))

    async def staged(self, name: str) -> Staged | None:
        """The bundle of this name, or None."""
        found = await self._metadata(name)
        return None if found is None else self._staged(name, found)

    async def read(
        self, name: str, *, first: int | None = None, last: int | None = None, last_bytes: int | None = None
    ) -> bytes:
        """The object's bytes from `first` on (to `last`), or its last ones; none when there is nothing there."""
        end = "" if last is None else last
        wanted = f"bytes={first}-{end}" if first is not None else f"bytes=-{last_bytes}"
        try:
            content: bytes = await self._asked(
                self._storage.download(self._name, name, headers={"Range": wanted, "Accept-Encoding": "identity"})
            )
        except Answered as error:
            if error.http_status in (404, 416):
                return b""
            raise
        return content

    async def names(self, prefix: str) -> list[str]:
        """The objects whose names begin so, at most OBJECTS_MAX; none where there is no bucket any more."""
        try:
            page = await self._asked(
                self._storage.list_objects(self._name, params={"prefix": prefix, "maxResults": str(OBJECTS_MAX)})
            )
        except Answered as error:
            if error.http_status == 404:
                return []
            raise
        return [str(item["name"]) for item in page.get("items", [])]

    async def remove(self, name: str) -> None:
        """Take the object away; it may be gone already."""
        try:
            await self._asked(self._storage.delete(self._name, name))
        except Answered as error:
            if error.http_status != 404:
                raise

    async def _listed(self, wanted: dict[str, str]) -> dict[str, Any]:
        try:
            page: dict[str, Any] = await self._asked(self._storage.list_objects(self._name, params=wanted))
        except Answered as error:
            raise of_bucket(error, self._name, self._account.identity) from error
        return page

    async def _put_new(
        self, name: str, content: IO[bytes], metadata: dict[str, str], media_type: str
    ) -> dict[str, Any] | None:
        """The object as it is there now; None when something has had the name."""
        try:
            made = await self._put(name, content, metadata, media_type)
        except Answered as error:
            if error.http_status == 400 and _DAMAGED in error.message:
                raise ProviderUnreachable(self._damaged(name)) from error
            if error.http_status != 412:
                raise of_bucket(error, self._name, self._account.identity) from error
            return None
        if made.get("md5Hash") != _md5(content):
            raise ProviderUnreachable(self._damaged(name))
        return made

    async def _put(self, name: str, content: IO[bytes], metadata: dict[str, str], media_type: str) -> dict[str, Any]:
        if (size := size_of(content)) >= RESUMABLE_BYTES_MIN:
            return await self._put_in_pieces(name, content, metadata, media_type)
        found: dict[str, Any] = await self._asked(
            self._storage.upload(
                self._name,
                name,
                io.BytesIO(piece_at(content, 0, size)),
                content_type=media_type,
                parameters={"ifGenerationMatch": "0"},
                # The library writes the name of a field anew: this one becomes `md5Hash`, and `md5Hash` would not.
                metadata={"metadata": metadata, "md5-hash": _md5(content)},
                force_resumable_upload=False,
            )
        )
        return found

    async def _put_in_pieces(
        self, name: str, content: IO[bytes], metadata: dict[str, str], media_type: str
    ) -> dict[str, Any]:
        place = await self._begin(name, content, metadata, media_type)
        size, sent, cuts, is_known = size_of(content), 0, 0, True
        while True:
            piece = piece_at(content, sent, PIECE_BYTES) if is_known else b""
            span = f"bytes {sent}-{sent + len(piece) - 1}/{size}" if is_known else f"bytes */{size}"
            try:
                done, sent = await self._continue(place, piece, span, sent + len(piece) if is_known else 0)
            except (aiohttp.ClientError, TimeoutError) as cut:
                cuts, is_known = cuts + 1, False  # How far it got is asked before anything is sent again.
                if cuts > CUTS_MAX:
                    raise ProviderUnreachable(f"The upload of {name} was cut off {cuts} times.") from cut
                await asyncio.sleep(CUT_SECONDS * 2**cuts)
                continue
            is_known = True
            if done is not None:
                return done

    async def _begin(self, name: str, content: IO[bytes], metadata: dict[str, str], media_type: str) -> str:
        async with self._account.wire.session.post(
            f"{self._account.wire.root('storage')}/upload/storage/v1/b/{self._name}/o",
            params={"uploadType": "resumable", "name": name, "ifGenerationMatch": "0"},
            headers={
                "Authorization": f"Bearer {await self._account.token()}",
                "Content-Type": "application/json; charset=UTF-8",
                "X-Upload-Content-Type": media_type,
                "X-Upload-Content-Length": str(size_of(content)),
            },
            data=msgspec.json.encode({"name": name, "metadata": metadata, "md5Hash": _md5(content)}),
        ) as response:
            if response.status >= 300:
                raise answered(response.status, await response.read(), response.headers.get("Retry-After", ""))
            return response.headers["Location"]

    async def _continue(self, place: str, piece: bytes, span: str, expected: int) -> tuple[dict[str, Any] | None, int]:
        """Send a piece, or ask with an empty one how far it got: the object when it is whole, and how much is there."""
        async with self._account.wire.session.put(place, headers={"Content-Range": span}, data=piece) as response:
            body = await response.read()
            if response.status == 308:
                return None, _next_byte(response.headers.get("Range", ""), expected)
            if response.status >= 300:
                raise answered(response.status, body, response.headers.get("Retry-After", ""))
            return msgspec.json.decode(body, type=dict[str, Any]), expected

    def _damaged(self, name: str) -> str:
        return f"gs://{self._name}/{name} did not arrive as it was sent."

    async def _there_before(self, name: str, digest: str) -> Staged:
        found = await self.staged(name)
        if found is None:
            raise ProviderUnreachable(f"gs://{self._name}/{name} was there a moment ago, and is not now.")
        if found.bundle.digest != digest:
            raise ProviderRefused(
                "bundle_differs",
                f"gs://{self._name}/{name} holds something else than this deployment's sources.",
                f"gcloud storage rm gs://{self._name}/{name}",
            )
        return found

    async def _metadata(self, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = await self._asked(self._storage.download_metadata(self._name, name))
        except Answered as error:
            if error.http_status == 404:
                return None
            raise
        return found

    def _staged(self, name: str, found: dict[str, Any]) -> Staged:
        own = found.get("metadata") or {}
        bundle = Bundle(location=f"gs://{self._name}/{name}", digest=str(own.get(_SHA256, "")))
        return Staged(bundle, self._name, name, str(found.get("generation", "")), str(own.get(_DART, "")))

    async def _asked(self, answer: Any) -> Any:
        """What the library answers, its errors as ours."""
        try:
            return await answer
        except aiohttp.ClientResponseError as error:
            if error.status == 401:
                self._account.forget_token()
            _, _, body = error.message.partition(": ")
            retry_after = error.headers.get("Retry-After", "") if error.headers else ""
            said = answered(error.status, body.encode() or error.message.encode(), retry_after)
            raise lacking_on_bucket(said, self._name, self._account.identity) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ProviderUnreachable(f"Cloud Storage does not answer: {str(error) or 'it takes too long'}.") from error


def _md5(content: IO[bytes]) -> str:
    """As Google writes it."""
    return base64.b64encode(md5_in(content)).decode()


def _next_byte(range_header: str, expected: int) -> int:
    """`bytes=0-262143` → 262144; nothing has arrived when the header is missing and nothing was expected to."""
    if "-" not in range_header:
        return 0
    return int(range_header.rpartition("-")[2]) + 1 if expected >= 0 else 0
