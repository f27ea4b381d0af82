"""One line in the log for each request answered."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import BinaryIO

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
    correlation_id: str
    tenant_id: str
    actor: str


Note = Callable[[RequestAnswered], None]


def note_in_log(fact: RequestAnswered) -> None:
    """As every other line of the log, in whichever style that has."""
    structlog.get_logger().info("request_answered", **msgspec.structs.asdict(fact))


class _Line(RequestAnswered, frozen=True, kw_only=True):
    event: str = "request_answered"
    level: str = "info"
    process: str = "api"
    timestamp: datetime


def note_as_json(stream: BinaryIO) -> Note:
    """The same line as JSON, written straight to the stream: the log's own way costs as much as answering does."""

    def note(fact: RequestAnswered) -> None:
        line = _Line(**msgspec.structs.asdict(fact), timestamp=datetime.now(UTC))
        stream.write(_ENCODER.encode(line) + b"\n")
        stream.flush()

    return note


def note_nothing(_fact: RequestAnswered) -> None:
    """For a log whose level leaves such lines out."""
