"""Answers of clouds arrive in pieces, however small they are."""

from __future__ import annotations

import aiohttp


async def whole_answer(content: aiohttp.StreamReader, *, bytes_max: int) -> bytes:
    """All of it; what is longer is cut off there. `content.read(n)` gives only what has arrived so far."""
    read = bytearray()
    while len(read) < bytes_max and (piece := await content.read(bytes_max - len(read))):
        read += piece
    return bytes(read)
