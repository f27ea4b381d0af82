"""The customer's container of blobs: what is staged there, conditionally and checked, for one deployment at a time."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import secrets
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import IO, TYPE_CHECKING, Any, TypeVar

import aiohttp
import msgspec

from domain.clouds import AzureStorage
from providers.azure.account import Account
from providers.azure.errors import ACCOUNT_MISSING, BLOBS, Answered, seconds
from providers.azure.identity import STORAGE
from providers.provider import Bundle, FilePage, ListedFile, ProviderRefused, ProviderUnreachable
from providers.spool import digest_in, fill, md5_in, piece_at, pieces, size_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from azure.storage.blob import ContentSettings
    from azure.storage.blob.aio import BlobClient, BlobServiceClient, ContainerClient

# Microsoft's library, a tenth of what a process would load, is loaded when something of Azure is asked for the first time.
_LIBRARY = "azure.storage.blob.aio"

# Larger ones are sent in blocks; after a cut only the blocks that did not arrive are sent again.
BLOCKS_BYTES_MIN = 8 * 1024 * 1024
BLOCK_BYTES = 4 * 1024 * 1024
CUTS_MAX = 5
CUT_SECONDS = 0.2
NAMES_MAX = 1000
BUNDLE_MEDIA_TYPE = "application/gzip"
READ_BYTES_MAX = 4 * 1024 * 1024
SAS_SECONDS = 2 * 3600
# Clocks differ: a key is valid from a little before now.
SKEW_SECONDS = 300
_SHA256 = "dcf_sha256"
_DEPLOYMENT = "dcf_deployment"
_DART = "dcf_dart"

T = TypeVar("T")


class AccountMissing(Answered):
    """There is no storage account of the name: nothing answers for it in the whole of Azure."""

    def __init__(self) -> None:
        super().__init__(400, "There is no such storage account.", code=ACCOUNT_MISSING)


class Staged(msgspec.Struct, frozen=True):
    """A bundle in the container; `dart` is the version its Dockerfile builds with."""

    bundle: Bundle
    name: str
    dart: str


class Container:
    """One container, as one account sees it."""

    def __init__(self, account: Account, storage: AzureStorage) -> None:
        self._account, self._storage = account, storage
        self._url = account.wire.blobs(storage.account)

    async def look(self) -> None:
        """See whether it is there. Raises Answered, AccountMissing."""
        async with self._container() as container:
            await _asked(container.get_container_properties)

    async def stage(self, name: str, content: IO[bytes], *, deployment_id: str, dart: str) -> Staged:
        """Put the bundle there, unless it is there already: nothing is ever overwritten.

        Raises ProviderRefused when something else has the name, ProviderUnreachable when it did not arrive.
        """
        digest = digest_in(content)
        metadata = {_SHA256: digest, _DEPLOYMENT: deployment_id, _DART: dart}
        if not await self.put_new(name, content, metadata, BUNDLE_MEDIA_TYPE):
            return await self._there_before(name, digest)
        return self._staged(name, metadata)

    async def put_new(self, name: str, content: IO[bytes], metadata: Mapping[str, str], media_type: str) -> bool:
        """Put the bytes there, unless something has the name: whether they were."""
        try:
            await self.put(name, content, metadata, media_type)
        except Answered as error:
            if error.code not in ("BlobAlreadyExists", "ConditionNotMet"):
                raise
            return False
        return True

    async def staged(self, name: str) -> Staged | None:
        """The bundle of this name, or None."""
        async with self._blob(name) as blob:
            try:
                properties = await _asked(blob.get_blob_properties)
            except Answered as error:
                if error.http_status == 404:
                    return None
                raise
            return self._staged(name, properties.metadata or {})

    async def put(
        self, name: str, content: IO[bytes], metadata: Mapping[str, str], media_type: str = BUNDLE_MEDIA_TYPE
    ) -> None:
        """Put a blob there if nothing has the name. Raises Answered (409, BlobAlreadyExists)."""
        async with self._blob(name) as blob:
            from azure.storage.blob import ContentSettings

            settings = ContentSettings(content_type=media_type, content_md5=bytearray(md5_in(content)))
            if (size := size_of(content)) >= BLOCKS_BYTES_MIN:
                await self._put_in_blocks(blob, content, settings, dict(metadata))
                return
            await _asked(
                lambda: blob.upload_blob(
                    piece_at(content, 0, size),
                    metadata=dict(metadata),
                    content_settings=settings,
                    overwrite=False,
                    validate_content=True,
                )
            )

    async def read(self, name: str, *, first: int = 0) -> bytes:
        """The blob's bytes from `first` on, at most READ_BYTES_MAX; none when there is nothing there."""
        async with self._blob(name) as blob:
            try:
                found = await _asked(lambda: blob.download_blob(offset=first, length=READ_BYTES_MAX))
                content: bytes = await _asked(found.readall)
            except Answered as error:
                if error.http_status in (404, 416):
                    return b""
                raise
            return content

    async def read_into(self, name: str, into: IO[bytes], *, bytes_max: int) -> datetime | None:
        """Write the blob down, cut off somewhere behind so many bytes, and tell its age; None when there is none."""
        async with self._blob(name) as blob:
            try:
                properties = await _asked(blob.get_blob_properties)
            except Answered as error:
                if error.http_status == 404:
                    return None
                raise

        async def read(first: int, _: int) -> bytes:
            return await self.read(name, first=first)

        await fill(into, read, piece_bytes=READ_BYTES_MAX, bytes_max=bytes_max)
        since: datetime = properties.last_modified
        return since

    async def page(self, prefix: str, cursor: str) -> FilePage:
        """The blobs whose names begin so, NAMES_MAX at a time."""
        async with self._container() as container:
            pages = container.list_blobs(name_starts_with=prefix, results_per_page=NAMES_MAX).by_page(cursor or None)

            async def page() -> FilePage:
                async for blobs in pages:
                    items = [ListedFile(name=str(blob.name), at=blob.last_modified) async for blob in blobs]
                    return FilePage(items=tuple(items), next_cursor=str(pages.continuation_token or ""))  # type: ignore[attr-defined]
                return FilePage(items=(), next_cursor="")

            return await _asked(page)

    async def names(self, prefix: str) -> list[str]:
        """The blobs whose names begin so, at most NAMES_MAX."""
        async with self._container() as container:
            pages = container.list_blob_names(name_starts_with=prefix, results_per_page=NAMES_MAX).by_page()

            async def page() -> list[str]:
                async for names in pages:
                    return [str(name) async for name in names]
                return []

            return await _asked(page)

    async def left(self, prefix: str) -> list[str]:
        """The same; where the customer removed the container or the account, none is."""
        try:
            return await self.names(prefix)
        except AccountMissing:
            return []
        except Answered as error:
            if error.http_status == 404:
                return []
            raise

    async def remove(self, name: str) -> None:
        """Take the blob away; it may be gone already."""
        async with self._blob(name) as blob:
            try:
                await _asked(blob.delete_blob)
            except Answered as error:
                if error.http_status != 404:
                    raise

    async def link(self, name: str) -> str:
        """An address at which anyone may read the blob for SAS_SECONDS: signed with a key that the application's own
        token gives, since no key of the storage account is known."""
        now = datetime.now(UTC)
        start, expiry = now - timedelta(seconds=SKEW_SECONDS), now + timedelta(seconds=SAS_SECONDS)
        async with self._service() as service:
            key = await _asked(lambda: service.get_user_delegation_key(start, expiry))
        from azure.storage.blob import BlobSasPermissions, generate_blob_sas

        signed = generate_blob_sas(
            self._storage.account,
            self._storage.container,
            name,
            user_delegation_key=key,
            permission=BlobSasPermissions(read=True),
            start=start,
            expiry=expiry,
        )
        return f"{self.address(name)}?{signed}"

    def address(self, name: str) -> str:
        return f"{self._url}/{self._storage.container}/{name}"

    async def _put_in_blocks(
        self, blob: BlobClient, content: IO[bytes], settings: ContentSettings, metadata: dict[str, str]
    ) -> None:
        from azure.core import MatchConditions
        from azure.storage.blob import BlobBlock

        wanted = [_block_id(number, piece) for number, piece in enumerate(pieces(content, BLOCK_BYTES))]
        for cuts in range(CUTS_MAX + 1):
            try:
                there = await self._arrived(blob)
                for block_id, piece in zip(wanted, pieces(content, BLOCK_BYTES), strict=True):
                    if there.get(block_id) != len(piece):
                        await _asked(
                            lambda id=block_id, data=piece: blob.stage_block(id, data, validate_content=True)  # type: ignore[misc]
                        )
                break
            except ProviderUnreachable:
                if cuts == CUTS_MAX:
                    raise
                await asyncio.sleep(CUT_SECONDS * 2**cuts)
        await _asked(
            lambda: blob.commit_block_list(
                [BlobBlock(block_id=block_id) for block_id in wanted],
                content_settings=settings,
                metadata=metadata,
                match_condition=MatchConditions.IfMissing,
            )
        )

    async def _arrived(self, blob: BlobClient) -> dict[str, int]:
        """The blocks that arrived and belong to no blob yet: their sizes in bytes."""
        try:
            _, waiting = await _asked(lambda: blob.get_block_list("uncommitted"))
        except Answered as error:
            if error.http_status == 404:
                return {}
            raise
        return {str(block.id): int(block.size) for block in waiting}

    async def _there_before(self, name: str, digest: str) -> Staged:
        found = await self.staged(name)
        if found is None:
            raise ProviderUnreachable(f"{self.address(name)} was there a moment ago, and is not now.")
        if found.bundle.digest != digest:
            subscription = self._account.identity.subscription_id
            place = f"--subscription {subscription} --account-name {self._storage.account} --container-name {self._storage.container}"
            raise ProviderRefused(
                "bundle_differs",
                f"{self.address(name)} holds something else than this deployment's sources.",
                f"az storage blob delete --auth-mode login {place} --name {name}",
            )
        return found

    def _staged(self, name: str, metadata: Mapping[str, str]) -> Staged:
        bundle = Bundle(location=self.address(name), digest=str(metadata.get(_SHA256, "")))
        return Staged(bundle, name, str(metadata.get(_DART, "")))

    async def _options(self) -> dict[str, Any]:
        if _LIBRARY not in sys.modules:
            await asyncio.to_thread(importlib.import_module, _LIBRARY)
        from azure.core.pipeline.transport import AioHttpTransport

        token = await self._account.token(STORAGE)

        def sign(request: Any) -> None:
            request.http_request.headers["Authorization"] = f"Bearer {token}"

        return {
            "transport": AioHttpTransport(session=self._account.wire.session, session_owner=False),
            # Its own credentials refuse to speak to an emulator without TLS.
            "raw_request_hook": sign,
            # Who asks again, and when, is for the runner to say.
            "retry_total": 0,
        }

    @asynccontextmanager
    async def _service(self) -> AsyncIterator[BlobServiceClient]:
        async with self._noticing():
            options = await self._options()
            from azure.storage.blob.aio import BlobServiceClient

            async with BlobServiceClient(self._url, **options) as client:
                yield client

    @asynccontextmanager
    async def _container(self) -> AsyncIterator[ContainerClient]:
        place = self._storage.container
        async with self._noticing():
            options = await self._options()
            from azure.storage.blob.aio import ContainerClient

            async with ContainerClient(self._url, place, **options) as client:
                yield client

    @asynccontextmanager
    async def _blob(self, name: str) -> AsyncIterator[BlobClient]:
        place = self._storage.container
        async with self._noticing():
            options = await self._options()
            from azure.storage.blob.aio import BlobClient

            async with BlobClient(self._url, place, name, **options) as client:
                yield client

    @asynccontextmanager
    async def _noticing(self) -> AsyncIterator[None]:
        try:
            yield
        except Answered as error:
            error.path = (
                f"{BLOBS}{self._storage.account}/{self._storage.container}"  # Where what mends it is to be done.
            )
            if error.http_status == 401:
                self._account.forget_token(STORAGE)
            raise


def probe_name() -> str:
    """A name that nothing has."""
    return f"dcf/check/{secrets.token_hex(16)}"


async def _asked(ask: Callable[[], Awaitable[T]]) -> T:
    """What the library answers, its errors as ours."""
    from azure.core.exceptions import AzureError, HttpResponseError, ServiceRequestError

    try:
        return await ask()
    except HttpResponseError as error:
        status = error.status_code or 0
        retry_after = getattr(error.response, "headers", {}).get("Retry-After", "")
        given = getattr(error, "error_code", "") or ""
        code = str(getattr(given, "value", given))  # The library makes a member of an enumeration of some.
        message = error.message.partition("\n")[0]
        raise Answered(status or 502, message, code=code, path=BLOBS, retry_in_seconds=seconds(retry_after)) from error
    except ServiceRequestError as error:
        if _is_unknown(error.inner_exception):
            raise AccountMissing from error
        raise ProviderUnreachable(f"Azure's storage does not answer: {error.message}.") from error
    except (AzureError, aiohttp.ClientError, TimeoutError) as error:
        raise ProviderUnreachable(f"Azure's storage does not answer: {str(error) or 'it takes too long'}.") from error


def _is_unknown(error: BaseException | None) -> bool:
    """Whether nothing has the name. That nobody could be asked for it, as while the resolver is away, says nothing of it."""
    if not isinstance(error, aiohttp.ClientConnectorDNSError):
        return False
    return error.os_error.errno in (socket.EAI_NONAME, socket.EAI_NODATA)


def _block_id(number: int, piece: bytes) -> str:
    """The same for the same bytes at the same place: what a former try has sent is found again."""
    return f"{number:05}-{hashlib.sha256(piece).hexdigest()[:32]}"
