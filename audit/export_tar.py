"""An export as one stream: a tar whose members are those of its folder, the manifest last."""

from __future__ import annotations

import tarfile
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

import msgspec

from audit.export_format import MANIFEST, PLAN, Manifest, Part, Plan
from audit.exporting import Made

_BLOCK: Final = 512


async def tar_of(plan: Plan, made: AsyncIterator[Made], *, made_at: str) -> AsyncGenerator[bytes, None]:
    """The bytes of the tar, part by part as they are made. Cut short it has no manifest, and cannot be taken for whole."""
    yield member(PLAN, msgspec.json.encode(plan))
    parts: list[Part] = []
    async for part, content in made:
        parts.append(part)
        yield member(part.name, content)
    manifest = Manifest.of(plan, parts, made_at=made_at)
    yield member(MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2)) + bytes(2 * _BLOCK)


def member(name: str, content: bytes) -> bytes:
    """A file as it stands in a tar."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o600
    return info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % _BLOCK)
