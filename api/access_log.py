"""One line in the log for each request answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import BinaryIO
from uuid import UUID

import msgspec
import structlog

_ENCODER = msgspec.json.Encoder()


class RequestAnswered(msgspec.Struct, frozen=True, kw_only=True):
    """The fact. The query of the address is left out: what is in it may not be for the log."""

    method: str
    path: str
    status: int
    operation: str
    code: str
    milliseconds: float
    request_id: str
    correlation_id: UUID
    tenant_id: UUID | str
    actor: str


Note = Callable[[RequestAnswered], None]


def note_in_log(fact: RequestAnswered) -> None:
    """As every other line of the log, in whichever style that has."""
    structlog.get_logger().info("request_answered", **msgspec.to_builtins(fact))


# A fact is encoded as one object; the line begins before that one does.
_BEGINNING = b'{"event":"request_answered","level":"info","process":"api","timestamp":"%b",%b\n'


def note_as_json(stream: BinaryIO) -> Note:
    """The same line as JSON, written straight to the stream: the log's own way costs as much as answering does.

    What is noted in one turn of the loop has one time, and is written at the end of it.
    """
    lines: list[bytes] = []
    now = b""

    def write() -> None:
        stream.write(b"".join(lines))
        stream.flush()
        lines.clear()

    def note(fact: RequestAnswered) -> None:
        nonlocal now
        if not lines:
            asyncio.get_running_loop().call_soon(write)
            now = datetime.now(UTC).isoformat().replace("+00:00", "Z").encode()
        lines.append(_BEGINNING % (now, _ENCODER.encode(fact)[1:]))

    return note


def note_nothing(_fact: RequestAnswered) -> None:
    """For a log whose level leaves such lines out."""
