"""Uploads that come in pieces, and the pieces there are: kept until the whole is an artifact, or their time is over."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count
from typing import IO, Protocol
from uuid import UUID

import msgspec

from eventstore.database import Database, Row


class NewUpload(msgspec.Struct, frozen=True, kw_only=True):
    """`request_hash` tells the same request from another with the same id; `length` is None while nobody has said it."""

    tenant_id: UUID
    upload_id: UUID
    project_id: UUID
    kind: str
    provider: str | None
    request_hash: bytes
    wanted_digest: str
    size_max: int
    length: int | None


class Upload(NewUpload, frozen=True, kw_only=True):
    """`received` bytes are there. `turn` is that of whoever was answered with it: a later one shuts it out.

    `digest` is that of the whole, once it is complete and its bytes are in the store of contents.
    """

    received: int
    turn: int
    digest: str
    created_at: datetime
    expires_at: datetime

    @property
    def is_complete(self) -> bool:
        return bool(self.digest)


class Uploads(Protocol):
    """Every call is durable before it returns."""

    async def begin(self, new: NewUpload, *, seconds: int, open_max: int) -> Upload | None:
        """Begin it, or take a turn at the one of that id, anew when its time is over; None: as many are open as may be."""
        ...

    async def take(self, tenant_id: UUID, upload_id: UUID) -> Upload | None:
        """Take a turn at it; None: there is none, or its time is over."""
        ...

    async def add(self, upload: Upload, at: int, content: bytes) -> bool:
        """Add a piece that begins at byte `at`; False: it is not its turn, not its place, or too much."""
        ...

    async def set_length(self, upload: Upload, length: int) -> bool:
        """How long the whole will be; False: something else was said before, or it is not its turn."""
        ...

    async def read_into(self, upload: Upload, into: IO[bytes]) -> bool:
        """Write down what was received, a piece at a time. False: it is not all there any more."""
        ...

    async def complete(self, upload: Upload, digest: str) -> None:
        """The whole is in the store of contents under this digest. The pieces go; the upload stays until its time is over."""
        ...

    async def drop(self, tenant_id: UUID, upload_id: UUID) -> Upload | None:
        """Forget it; None: there is none."""
        ...


class PostgresUploads:
    """The uploads in PostgreSQL; each call is one round trip under row-level security, reading one for each piece."""

    def __init__(self, database: Database) -> None:
        self._database = database

    _COLUMNS = """tenant_id, upload_id, project_id, kind, provider, request_hash, wanted_digest, size_max, length, received,
                  turn, digest, created_at, expires_at"""

    _BEGIN = f"SELECT {_COLUMNS} FROM work.begin_upload($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"  # noqa: S608 - the columns are a constant

    async def begin(self, new: NewUpload, *, seconds: int, open_max: int) -> Upload | None:
        values = msgspec.structs.astuple(new)
        return _upload(await self._database.fetchrow(self._BEGIN, *values, seconds, open_max))

    _TAKE = f"SELECT {_COLUMNS} FROM work.take_upload($1, $2)"  # noqa: S608 - the columns are a constant

    async def take(self, tenant_id: UUID, upload_id: UUID) -> Upload | None:
        return _upload(await self._database.fetchrow(self._TAKE, tenant_id, upload_id))

    _ADD = "SELECT work.add_piece($1, $2, $3, $4, $5)"

    async def add(self, upload: Upload, at: int, content: bytes) -> bool:
        ids = (upload.tenant_id, upload.upload_id, upload.turn)
        return bool(await self._database.fetchval(self._ADD, *ids, at, content))

    _SET_LENGTH = "SELECT work.set_upload_length($1, $2, $3, $4)"

    async def set_length(self, upload: Upload, length: int) -> bool:
        ids = (upload.tenant_id, upload.upload_id, upload.turn)
        return bool(await self._database.fetchval(self._SET_LENGTH, *ids, length))

    _PIECE = "SELECT work.upload_piece($1, $2, $3)"

    async def read_into(self, upload: Upload, into: IO[bytes]) -> bool:
        at = 0
        while at < upload.received:
            piece: bytes | None = await self._database.fetchval(self._PIECE, upload.tenant_id, upload.upload_id, at)
            if piece is None:
                return False
            into.write(piece)
            at += len(piece)
        return True

    _COMPLETE = "SELECT work.complete_upload($1, $2, $3)"

    async def complete(self, upload: Upload, digest: str) -> None:
        await self._database.execute(self._COMPLETE, upload.tenant_id, upload.upload_id, digest)

    _DROP = f"SELECT {_COLUMNS} FROM work.drop_upload($1, $2)"  # noqa: S608 - the columns are a constant

    async def drop(self, tenant_id: UUID, upload_id: UUID) -> Upload | None:
        return _upload(await self._database.fetchrow(self._DROP, tenant_id, upload_id))


class MemoryUploads:
    """The uploads as long as their process lives, under a clock of the caller's."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._uploads: dict[tuple[UUID, UUID], Upload] = {}
        self._pieces: dict[tuple[UUID, UUID], bytes] = {}
        self._first_turns = count(step=1_000_000)

    async def begin(self, new: NewUpload, *, seconds: int, open_max: int) -> Upload | None:
        key = (new.tenant_id, new.upload_id)
        if key in self._uploads and self._uploads[key].expires_at <= self._clock():
            await self.drop(*key)
        if key not in self._uploads:
            if sum(self._is_open(upload, new.tenant_id) for upload in self._uploads.values()) >= open_max:
                return None
            now = self._clock()
            self._uploads[key] = Upload(
                **msgspec.structs.asdict(new),
                received=0,
                turn=next(self._first_turns),
                digest="",
                created_at=now,
                expires_at=now + timedelta(seconds=seconds),
            )
            self._pieces[key] = b""
        return self._turned(key)

    async def take(self, tenant_id: UUID, upload_id: UUID) -> Upload | None:
        upload = self._uploads.get((tenant_id, upload_id))
        if upload is None or upload.expires_at <= self._clock():
            return None
        return self._turned((tenant_id, upload_id))

    async def add(self, upload: Upload, at: int, content: bytes) -> bool:
        key = (upload.tenant_id, upload.upload_id)
        now = self._uploads.get(key)
        if now is None or now.turn != upload.turn or now.received != at or now.is_complete:
            return False
        received = at + len(content)
        if received > min(now.size_max, now.size_max if now.length is None else now.length):
            return False
        self._pieces[key] += content
        self._uploads[key] = msgspec.structs.replace(now, received=received)
        return True

    async def set_length(self, upload: Upload, length: int) -> bool:
        key = (upload.tenant_id, upload.upload_id)
        now = self._uploads.get(key)
        if now is None or now.turn != upload.turn or now.length not in (None, length):
            return False
        self._uploads[key] = msgspec.structs.replace(now, length=length)
        return True

    async def read_into(self, upload: Upload, into: IO[bytes]) -> bool:
        content = self._pieces.get((upload.tenant_id, upload.upload_id), b"")
        into.write(content[: upload.received])
        return len(content) >= upload.received

    async def complete(self, upload: Upload, digest: str) -> None:
        key = (upload.tenant_id, upload.upload_id)
        if (now := self._uploads.get(key)) is not None:
            self._uploads[key] = msgspec.structs.replace(now, digest=digest, length=now.received)
            self._pieces[key] = b""

    async def drop(self, tenant_id: UUID, upload_id: UUID) -> Upload | None:
        self._pieces.pop((tenant_id, upload_id), None)
        return self._uploads.pop((tenant_id, upload_id), None)

    def _turned(self, key: tuple[UUID, UUID]) -> Upload:
        upload = self._uploads[key]
        self._uploads[key] = turned = msgspec.structs.replace(upload, turn=upload.turn + 1)
        return turned

    def _is_open(self, upload: Upload, tenant_id: UUID) -> bool:
        return upload.tenant_id == tenant_id and not upload.is_complete and upload.expires_at > self._clock()


def _upload(row: Row | None) -> Upload | None:
    return None if row is None else Upload(**dict(row))
