"""A file as an answer: sent piece by piece, as its caller takes it in."""

from __future__ import annotations

import asyncio
from typing import IO, Any

from api.answer import Answer, Header
from api.exchange import exchange_of
from api.permit import Permit
from providers.spool import pieces, size_of

# Each caller that is slower than we are has one of these waiting for it.
PIECE_BYTES = 64 * 1024


class FileAnswer(Answer):
    """All bytes of a file, whose length is said first; cut off when the caller may not have them any more.

    The file is closed once it was answered with.
    """

    __slots__ = ("_content", "_permit")

    def __init__(self, content: IO[bytes], *, media_type: bytes, headers: tuple[Header, ...], permit: Permit) -> None:
        super().__init__(b"")
        self._content, self._permit = content, permit
        self.headers = [(b"content-type", media_type), (b"content-length", b"%d" % size_of(content)), *headers]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        with self._content:
            await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
            if exchange_of(scope).is_head:
                await send({"type": "http.response.body", "body": b""})
            elif size_of(self._content) <= PIECE_BYTES:
                await self._send(send)
            else:
                await self._send_while_permitted(send)

    async def _send_while_permitted(self, send: Any) -> None:
        """What ends before its length is reached is cut off by the server."""
        sending, losing = asyncio.create_task(self._send(send)), asyncio.create_task(self._permit.lost())
        try:
            await asyncio.wait((sending, losing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended = sending.done()
            sending.cancel()
            losing.cancel()
            await asyncio.gather(sending, losing, return_exceptions=True)
        if ended:
            sending.result()

    async def _send(self, send: Any) -> None:
        left = size_of(self._content)
        for piece in pieces(self._content, PIECE_BYTES):
            left -= len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": left > 0})
            if left and not await self._permit.holds():
                return
