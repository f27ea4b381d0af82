"""Files on their way: in memory while they are small, on the disk beyond that, and taken piece by piece."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator
from tempfile import SpooledTemporaryFile
from typing import IO, Any

# What is larger lies on the disk, without a name: it is gone with the process.
MEMORY_BYTES_MAX = 1024 * 1024
_HASHED_BYTES = 1024 * 1024


def spool() -> IO[bytes]:
    """An empty one. Whoever makes it closes it."""
    return SpooledTemporaryFile(max_size=MEMORY_BYTES_MAX)


def size_of(content: IO[bytes]) -> int:
    """In bytes."""
    return content.seek(0, 2)


def piece_at(content: IO[bytes], first: int, size_bytes: int) -> bytes:
    """The bytes from `first` on, at most so many."""
    content.seek(first)
    return content.read(size_bytes)


def pieces(content: IO[bytes], size_bytes: int) -> Iterator[bytes]:
    """The whole, from its beginning. Whoever else reads it meanwhile does no harm."""
    first = 0
    while piece := piece_at(content, first, size_bytes):
        yield piece
        first += len(piece)


def digest_in(content: IO[bytes]) -> str:
    """`sha256:` and 64 hexadecimal digits."""
    return f"sha256:{_hashed(content, hashlib.sha256()).hex()}"


def md5_in(content: IO[bytes]) -> bytes:
    """It tells damage, not forgery, apart."""
    return _hashed(content, hashlib.md5(usedforsecurity=False))


async def fill(
    into: IO[bytes], read: Callable[[int, int], Awaitable[bytes]], *, piece_bytes: int, bytes_max: int
) -> None:
    """Write down what `read` gives from a byte on, piece by piece, until one is short or there are more than `bytes_max`."""
    first = 0
    while first <= bytes_max:
        piece = await read(first, piece_bytes)
        into.write(piece)
        first += len(piece)
        if len(piece) < piece_bytes:
            return


def _hashed(content: IO[bytes], algorithm: Any) -> bytes:
    for piece in pieces(content, _HASHED_BYTES):
        algorithm.update(piece)
    found: bytes = algorithm.digest()
    return found
