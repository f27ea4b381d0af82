"""What everything that keeps files in a project's storage promises."""

from __future__ import annotations

import io
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from providers import files
from providers.provider import KeepsFiles, Place, ProviderUnreachable
from providers.spool import digest_in
from tests.providers.relay import Relay

MEBIBYTE = 1024 * 1024
# More than two parts of any storage, and far less than the whole.
HELD_BYTES_MAX = 12 * MEBIBYTE
LARGE_BYTES = 16 * MEBIBYTE
# More than one part of any storage.
CUT_BYTES = 6 * MEBIBYTE


async def read_back(keeper: KeepsFiles, place: Place, name: str) -> bytes | None:
    """The whole of what is there, or None."""
    into = io.BytesIO()
    since = await keeper.read_file(place, name, into, bytes_max=1 << 30)
    return into.getvalue() if since else None


async def check_keeping(keeper: KeepsFiles, place: Place) -> None:
    """Put, find, list and take away; nothing is overwritten, and every verb may be repeated."""
    folder = files.folder(place.tenant_id, place.project_id)
    name = f"{folder}{'0' * 64}"
    assert await read_back(keeper, place, name) is None

    assert await keeper.put_file(place, name, io.BytesIO(b"void main() {}\n")) is True
    assert await keeper.put_file(place, name, io.BytesIO(b"something else\n")) is False
    assert await keeper.put_file(place, f"{folder}1", io.BytesIO(b"another\n")) is True
    found, cut = io.BytesIO(), io.BytesIO()
    since = await keeper.read_file(place, name, found, bytes_max=15)
    await keeper.read_file(place, name, cut, bytes_max=4)
    page = await keeper.list_files(place, folder)

    assert since is not None
    assert found.getvalue() == b"void main() {}\n"
    assert 4 < len(cut.getvalue()) <= 15
    assert abs(datetime.now(UTC) - since) < timedelta(minutes=5)
    assert [item.name for item in page.items] == [name, f"{folder}1"]
    assert page.next_cursor == ""
    assert abs(page.items[0].at - since) < timedelta(seconds=2)
    for _ in range(2):
        await keeper.remove_file(place, name)
        await keeper.remove_file(place, f"{folder}1")
    assert (await keeper.list_files(place, folder)).items == ()


async def check_damage(keeper: KeepsFiles, place: Place) -> None:
    """What lies there and is not what was uploaded is refused, be it another, shorter, longer, empty or gone."""
    content = b"void main() {}\n"
    digest = files.digest_of(content)
    for number, damaged in enumerate((b"void main() {};", content[:-1], content + b"\n", b"")):
        name = f"{files.folder(place.tenant_id, place.project_id)}{number}"
        await keeper.put_file(place, name, io.BytesIO(damaged))
        with pytest.raises(files.FileLost, match="is not what was uploaded"):
            await files.fetch(keeper, place, name, digest, io.BytesIO(), size_bytes=len(content))
        await keeper.remove_file(place, name)
        with pytest.raises(files.FileLost, match="is gone"):
            await files.fetch(keeper, place, name, digest, io.BytesIO(), size_bytes=len(content))


async def check_large(keeper: KeepsFiles, place: Place) -> None:
    """What is large comes back as it was, and never more than a few parts of it are held at a time."""
    name = f"{files.folder(place.tenant_id, place.project_id)}large"
    sent, back = Watched(), Watched()
    sent.write(bytes(range(251)) * (LARGE_BYTES // 251))
    digest, size = digest_in(sent), sent.tell()
    sent.largest_bytes = 0

    assert await keeper.put_file(place, name, sent)
    await files.fetch(keeper, place, name, digest, back, size_bytes=size)
    await keeper.remove_file(place, name)

    assert 0 < sent.held_bytes_most <= HELD_BYTES_MAX
    assert 0 < back.largest_bytes <= HELD_BYTES_MAX / 2


async def check_cuts(keeper: KeepsFiles, place: Place, relay: Relay) -> None:
    """What is cut off in the midst of an answer is taken neither for the whole nor for damaged, be it in the first piece or
    in the last: the storage is asked again, and then it is all there."""
    name = f"{files.folder(place.tenant_id, place.project_id)}cut"
    content = bytes(range(251)) * (CUT_BYTES // 251)
    digest = files.digest_of(content)
    assert await keeper.put_file(place, name, io.BytesIO(content))

    for number, cut_after in enumerate((MEBIBYTE, CUT_BYTES - MEBIBYTE // 2), 1):
        relay.cut_after = cut_after
        # A library may ask again by itself: then it is all there. `FileLost` would say that it is damaged.
        with suppress(ProviderUnreachable):
            await files.fetch(keeper, place, name, digest, io.BytesIO(), size_bytes=len(content))
        assert relay.cuts == number
        into = io.BytesIO()
        await files.fetch(keeper, place, name, digest, into, size_bytes=len(content))
        assert into.getvalue() == content


class _Piece(bytes):
    """Bytes that tell when nobody holds them any more."""

    source: Watched

    def __del__(self) -> None:
        self.source.held_bytes -= len(self)


class Watched(io.BytesIO):
    """Knows how much of what was read from it was held at once, and how much was written to it at once."""

    def __init__(self) -> None:
        super().__init__()
        self.held_bytes = self.held_bytes_most = self.largest_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        piece = _Piece(super().read(size))
        piece.source = self
        self.held_bytes += len(piece)
        self.held_bytes_most = max(self.held_bytes_most, self.held_bytes)
        return piece

    def write(self, content: Any, /) -> int:
        self.largest_bytes = max(self.largest_bytes, memoryview(content).nbytes)
        return super().write(content)
