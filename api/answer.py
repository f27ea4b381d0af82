"""What goes back over the wire: a status, ready bytes, and their headers."""

from __future__ import annotations

from typing import Any

import msgspec

from api.compression import plain_tag
from api.exchange import Exchange, exchange_of

JSON = b"application/json"
PROBLEM = b"application/problem+json"

# RFC 9110: these have no body, and nothing is said about one.
_BODILESS = (204, 304)
_ENCODER = msgspec.json.Encoder()
Header = tuple[bytes, bytes]


class Answer:
    """An ASGI application that gives one fixed answer."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self, body: bytes, *, status: int = 200, media_type: bytes = JSON, headers: tuple[Header, ...] = ()
    ) -> None:
        self.status, self.body = status, body
        about = (
            [(b"content-type", media_type), (b"content-length", b"%d" % len(body))] if status not in _BODILESS else []
        )
        self.headers: list[Header] = [*about, *headers]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})

    def to_asgi_response(self, **_: Any) -> Answer:
        """What Litestar asks of the answer to an error: it is one already."""
        return self


def encoded(value: object) -> bytes:
    """The value as JSON."""
    return _ENCODER.encode(value)


def etag(position: int) -> bytes:
    """The entity tag of a thing last touched by the event at the position."""
    return b'"%d"' % position


def entity(request: Any, row: bytes, position: int) -> Answer:
    """One thing as it is now, or 304 when the caller has that already."""
    tag = etag(position)
    headers = ((b"etag", tag), (b"cache-control", b"private, no-cache"))
    return unchanged(request, tag, headers) or Answer(row, headers=headers)


def unsettled(row: bytes, position: int) -> Answer:
    """One thing with what is so at this instant. Never answered with 304: it changes while what is recorded stays."""
    return Answer(row, headers=((b"etag", etag(position)), (b"cache-control", b"private, no-cache")))


def unchanged(request: Any, tag: bytes, headers: tuple[Header, ...]) -> Answer | None:
    """304, when If-None-Match names the tag; None: the caller has something else, or nothing."""
    return Answer(b"", status=304, headers=headers) if is_known(exchange_of(request.scope), tag) else None


def is_known(exchange: Exchange, tag: bytes) -> bool:
    """Whether If-None-Match names the tag, in whichever form the caller was given it."""
    given = exchange.headers.get(b"if-none-match")
    return given is not None and _names(given, tag)


def refused(scope: Any, status: int, problem: bytes, headers: tuple[Header, ...], code: str) -> Answer:
    """A refusal, noted on its exchange so that the access log can name it."""
    exchange_of(scope).code = code
    return Answer(problem, status=status, media_type=PROBLEM, headers=headers)


def _names(given: bytes, tag: bytes) -> bool:
    tags = {plain_tag(part.strip()) for part in given.split(b",")}
    return tag in tags or b"*" in tags
