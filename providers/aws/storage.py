"""The customer's bucket: what is staged there, conditionally and checked, for one deployment at a time."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from datetime import UTC, datetime
from typing import IO, Any

import aiohttp
import msgspec
from botocore.exceptions import BotoCoreError

from domain.clouds import AwsStorage
from providers.aws.account import Account
from providers.aws.errors import Answered, unanswered
from providers.provider import (
    Bundle,
    FilePage,
    ListedFile,
    ProviderBusy,
    ProviderRefused,
    ProviderUnreachable,
)
from providers.spool import digest_in, fill, piece_at, pieces, size_of
from providers.together import together

# Larger ones are sent in parts, and go on after a cut where it left off.
MULTIPART_BYTES_MIN = 8 * 1024 * 1024
PART_BYTES = 5 * 1024 * 1024  # The least that S3 takes as a part that is not the last.
CUTS_MAX = 5
CUT_SECONDS = 0.2
OBJECTS_MAX = 1000
_SHA256 = "dcf-sha256"
_DART = "dcf-dart"
# What S3 says when bytes are others than their checksum, or their signature, tells.
_DAMAGED = frozenset({"BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"})


class Staged(msgspec.Struct, frozen=True):
    """A bundle in the bucket. `dart` is the version its Dockerfile builds with."""

    bundle: Bundle
    name: str
    dart: str


class Bucket:
    """One bucket, as one account sees it."""

    def __init__(self, account: Account, storage: AwsStorage) -> None:
        self._account, self._name, self._region = account, storage.bucket, storage.region

    async def stage(self, name: str, content: IO[bytes], *, dart: str = "") -> Staged:
        """Put the bundle there, unless it is there already: nothing is ever overwritten.

        S3 checks what arrives against its SHA-256. Raises ProviderRefused when something else has the name.
        """
        digest = digest_in(content)
        metadata = {_SHA256: digest, _DART: dart}
        if not await self.put(name, content, metadata, "application/zip"):
            return await self._there_before(name, digest)
        return self._staged(name, metadata)

    async def put(self, name: str, content: IO[bytes], metadata: dict[str, str], media_type: str) -> bool:
        """Put the bytes there, unless something has the name: whether they were."""
        try:
            if (size := size_of(content)) >= MULTIPART_BYTES_MIN:
                await self._put_in_parts(name, content, metadata, media_type)
            else:
                whole = piece_at(content, 0, size)
                await self._call(
                    "put_object",
                    Key=name,
                    Body=whole,
                    ContentType=media_type,
                    Metadata=metadata,
                    IfNoneMatch="*",
                    ChecksumSHA256=_checksum(whole),
                )
        except Answered as error:
            if error.code == "NoSuchUpload":
                raise ProviderBusy("Somebody else has just ended the same upload.") from error
            if error.code in _DAMAGED:
                raise ProviderBusy(f"s3://{self._name}/{name} arrived damaged, and S3 refused it.") from error
            if error.http_status != 412:
                raise
            return False
        return True

    async def read_into(self, name: str, into: IO[bytes], *, bytes_max: int) -> datetime | None:
        """Write the object down, cut off somewhere behind so many bytes, and tell its age; None when there is none."""
        since: datetime | None = None

        async def read(first: int, size_bytes: int) -> bytes:
            nonlocal since
            try:
                found = await self._call("get_object", Key=name, Range=f"bytes={first}-{first + size_bytes - 1}")
            except Answered as error:
                if error.http_status == 416:  # There is nothing behind what was read.
                    since = since or datetime.now(UTC)
                    return b""
                raise
            since = found["LastModified"]
            return await _body(found)

        try:
            await fill(into, read, piece_bytes=PART_BYTES, bytes_max=bytes_max)
        except Answered as error:
            if error.is_missing:
                return None
            raise
        return since

    async def page(self, prefix: str, cursor: str) -> FilePage:
        """The objects whose names begin so, OBJECTS_MAX at a time."""
        more = {"ContinuationToken": cursor} if cursor else {}
        page = await self._call("list_objects_v2", Prefix=prefix, MaxKeys=OBJECTS_MAX, **more)
        items = [ListedFile(name=str(item["Key"]), at=item["LastModified"]) for item in page.get("Contents", [])]
        return FilePage(items=tuple(items), next_cursor=str(page.get("NextContinuationToken", "")))

    async def staged(self, name: str) -> Staged | None:
        """The bundle of this name, or None."""
        try:
            found = await self._call("head_object", Key=name)
        except Answered as error:
            if error.is_missing:
                return None
            raise
        return self._staged(name, found["Metadata"])

    async def keep(self, name: str, text: str) -> None:
        """Put a short text there; one that is there already stays."""
        try:
            await self._call("put_object", Key=name, Body=text.encode(), ContentType="text/plain", IfNoneMatch="*")
        except Answered as error:
            if error.http_status != 412:
                raise

    async def text(self, name: str) -> str | None:
        """The text of this name, or None."""
        try:
            found = await self._call("get_object", Key=name)
        except Answered as error:
            if error.is_missing:
                return None
            raise
        return (await _body(found)).decode()

    async def clear(self, prefix: str) -> None:
        """Take away all objects whose names begin so, and what was begun of any; with the bucket they are gone."""
        try:
            uploads = (await self._call("list_multipart_uploads", Prefix=prefix)).get("Uploads", [])
        except Answered as error:
            if error.is_missing:
                return
            raise
        await together(*(self._abort(str(upload["Key"]), str(upload["UploadId"])) for upload in uploads))
        await together(*(self._call("delete_object", Key=name) for name in await self.names(prefix)))

    async def names(self, prefix: str) -> list[str]:
        """The objects whose names begin so, at most OBJECTS_MAX."""
        page = await self._call("list_objects_v2", Prefix=prefix, MaxKeys=OBJECTS_MAX)
        return [str(item["Key"]) for item in page.get("Contents", [])]

    async def remove(self, name: str) -> None:
        """Take the object away, and what was begun of it; either may be gone already."""
        for upload in await self._unfinished(name):
            await self._abort(name, upload)
        await self._call("delete_object", Key=name)

    async def location(self) -> str:
        """The region the bucket is in."""
        found = (await self._call("get_bucket_location")).get("LocationConstraint")
        # The two oldest regions are written otherwise.
        return {None: "us-east-1", "": "us-east-1", "EU": "eu-west-1"}.get(found, str(found))

    async def _put_in_parts(self, name: str, content: IO[bytes], metadata: dict[str, str], media_type: str) -> None:
        upload, there = await self._begun(name, metadata, media_type)
        parts = []
        for number, part in enumerate(pieces(content, PART_BYTES), 1):
            checksum = _checksum(part)
            tag = there.get((number, checksum)) or await self._put_part(name, upload, number, part, checksum)
            parts.append({"PartNumber": number, "ETag": tag, "ChecksumSHA256": checksum})
        try:
            await self._call(
                "complete_multipart_upload",
                Key=name,
                UploadId=upload,
                MultipartUpload={"Parts": parts},
                IfNoneMatch="*",
            )
        except Answered as error:
            if error.http_status == 412:
                await self._abort(name, upload)
            raise

    async def _begun(
        self, name: str, metadata: dict[str, str], media_type: str
    ) -> tuple[str, dict[tuple[int, str], str]]:
        """The upload that was cut off, with the parts that arrived, by number and checksum; or a new one."""
        for upload in await self._unfinished(name):
            found = await self._call("list_parts", Key=name, UploadId=upload)
            parts = found.get("Parts", [])
            return upload, {(p["PartNumber"], str(p.get("ChecksumSHA256", ""))): str(p["ETag"]) for p in parts}
        made = await self._call(
            "create_multipart_upload",
            Key=name,
            ContentType=media_type,
            Metadata=metadata,
            ChecksumAlgorithm="SHA256",
        )
        return str(made["UploadId"]), {}

    async def _put_part(self, name: str, upload: str, number: int, part: bytes, checksum: str) -> str:
        for cuts in range(CUTS_MAX + 1):
            try:
                made = await self._call(
                    "upload_part",
                    Key=name,
                    UploadId=upload,
                    PartNumber=number,
                    Body=part,
                    ChecksumSHA256=checksum,
                )
                return str(made["ETag"])
            except ProviderUnreachable:
                if cuts == CUTS_MAX:
                    raise
                await asyncio.sleep(CUT_SECONDS * 2**cuts)
        raise AssertionError("the last cut is raised")

    async def _unfinished(self, name: str) -> list[str]:
        found = await self._call("list_multipart_uploads", Prefix=name)
        return [str(upload["UploadId"]) for upload in found.get("Uploads", []) if upload["Key"] == name]

    async def _abort(self, name: str, upload: str) -> None:
        try:
            await self._call("abort_multipart_upload", Key=name, UploadId=upload)
        except Answered as error:
            if not error.is_missing:
                raise

    async def _there_before(self, name: str, digest: str) -> Staged:
        found = await self.staged(name)
        if found is None:
            raise ProviderUnreachable(f"s3://{self._name}/{name} was there a moment ago, and is not now.")
        if found.bundle.digest != digest:
            raise ProviderRefused(
                "bundle_differs",
                f"s3://{self._name}/{name} holds something else than this deployment's sources.",
                f"aws s3 rm s3://{self._name}/{name}",
            )
        return found

    def _staged(self, name: str, metadata: dict[str, str]) -> Staged:
        bundle = Bundle(location=f"s3://{self._name}/{name}", digest=metadata.get(_SHA256, ""))
        return Staged(bundle, name, metadata.get(_DART, ""))

    async def _call(self, call: str, **parameters: Any) -> Any:
        return await self._account.call("s3", call, region=self._region, Bucket=self._name, **parameters)


async def _body(found: dict[str, Any]) -> bytes:
    """What an object's answer carries. Raises ProviderUnreachable when it is cut off."""
    try:
        async with found["Body"] as body:
            content: bytes = await body.read()
            return content
    except BotoCoreError as error:
        raise unanswered(error) from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise ProviderUnreachable(
            f"S3 stopped in the midst of an object: {str(error) or 'it takes too long'}."
        ) from error


def _checksum(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()
