"""What stores of bytes hold, whole: files in tests are small."""

from __future__ import annotations

import io
from uuid import UUID

from eventstore.contents import Contents
from eventstore.uploads import Upload, Uploads


async def put_bytes(contents: Contents, tenant_id: UUID, digest: str, content: bytes) -> None:
    await contents.put(tenant_id, digest, io.BytesIO(content))


async def bytes_of(contents: Contents, tenant_id: UUID, digest: str) -> bytes | None:
    into = io.BytesIO()
    return into.getvalue() if await contents.read_into(tenant_id, digest, into) else None


async def bytes_received(uploads: Uploads, upload: Upload) -> bytes | None:
    into = io.BytesIO()
    return into.getvalue() if await uploads.read_into(upload, into) else None
