"""What every request passes on its way in and out: its ids, safe headers, ETags, gzip, the count, one line in the log."""

from __future__ import annotations

import time
from collections.abc import Mapping
from hashlib import blake2b
from types import MappingProxyType
from typing import Any

from api.access_log import Note, RequestAnswered
from api.answer import JSON, Answer, Header, is_known
from api.answered import ANSWERED
from api.compression import GZIP_BYTES_MIN, gzip_tag, gzipped, is_compressible, takes_gzip
from api.cross_origin import CrossOrigin
from api.errors import answer_to, refusal_of
from api.event_stream import Streams
from api.exchange import Exchange, open_exchange
from api.methods import Methods
from domain.uuids import text_of
from process.connection import AT_ONCE, lines_of
from process.health import Health
from process.logs import printable

# The API answers with data only: nothing of it may be framed, sniffed, run or sent on as a referrer.
SECURITY_HEADERS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_SECURITY = frozenset(name for name, _ in SECURITY_HEADERS)
_SECURITY_LINES = lines_of(SECURITY_HEADERS)
_NOT_STORED: Header = (b"cache-control", b"no-store")
_ASKED_AGAIN: Header = (b"cache-control", b"private, no-cache")
_VARIES: Header = (b"vary", b"Accept-Encoding")
_ORIGIN = b"Origin"
_TAG_BYTES = 12
_OWN_PATHS = ("/health/", "/metrics")
_NONE: Mapping[str, Any] = MappingProxyType({})


class Front:
    """The outermost ASGI application of the API's port. `health` answers `/health/…` and `/metrics`.

    `streams` are what its callers follow, to be closed before the process stops. `cross_origin` says which pages may ask.
    """

    def __init__(
        self, app: Any, health: Health, methods: Methods, streams: Streams, note: Note, cross_origin: CrossOrigin
    ) -> None:
        self.streams = streams
        self._app, self._health, self._methods, self._note = app, health, methods, note
        self._cross_origin = cross_origin

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"].startswith(_OWN_PATHS):
            await self._health(scope, receive, send)
        else:
            told = self._methods.headers(scope["path"]) if scope["method"] == "OPTIONS" else ()
            if told:
                told += self._cross_origin.preflight(dict(scope["headers"]), self._methods.of(scope["path"]))
            app = Answer(b"", status=204, headers=told) if told else self._app
            passage = _Passage(scope, send, self._cross_origin)
            await passage.through(app, receive)
            passage.count()
            self._note(passage.fact())


class _Passage:
    """One request and its answer."""

    def __init__(self, scope: Any, send: Any, cross_origin: CrossOrigin) -> None:
        self._scope, self._send, self._cross_origin = scope, send, cross_origin
        self._exchange: Exchange = open_exchange(scope)
        self._method: str = scope["method"]
        if self._exchange.is_head:
            # A copy: the server goes by its own to leave the body out.
            self._scope = {**scope, "method": "GET"}
        # The beginning of the answer, until it is known how its body begins.
        self._held: Any = None
        self._begun = False
        self._status = 0
        self._started = time.perf_counter()
        self._seconds = 0.0

    async def through(self, app: Any, receive: Any) -> None:
        try:
            await app(self._scope, receive, self._out)
        except Exception as error:  # noqa: BLE001 - the last place where a caller can still be answered
            refusal = refusal_of(error)
            if not self._begun:
                await answer_to(self._scope, refusal)(self._scope, receive, self._out)
        self._seconds = time.perf_counter() - self._started

    async def _out(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._status, self._held = message["status"], message
            return
        if self._held is not None:
            held, self._held, self._begun = self._held, None, True
            headers = dict(held["headers"])
            whole = not message.get("more_body", False)
            if whole:
                message["body"] = self._whole(headers, message["body"])
            given = self._headers(headers)
            security = SECURITY_HEADERS
            if own := not _SECURITY.isdisjoint(headers):
                security = tuple(header for header in security if header[0] not in headers)
            at_once = (
                self._scope.get("extensions", _NONE).get(AT_ONCE)
                if whole and not own and not self._exchange.is_head
                else None
            )
            if at_once is not None and at_once(self._status, given, message["body"], standing=_SECURITY_LINES):
                return
            await self._send({**held, "status": self._status, "headers": [*given, *security]})
        if self._exchange.is_head:
            message["body"] = b""
        await self._send(message)

    def _headers(self, given: dict[bytes, bytes]) -> list[Header]:
        """All but those that are the same for every answer."""
        exchange = self._exchange
        if self._cross_origin.varies:
            given[b"vary"] = b", ".join(filter(None, (given.get(b"vary"), _ORIGIN)))
        if b"origin" in exchange.headers:
            # What is for every page by itself says so itself.
            given = dict(self._cross_origin.headers(exchange.headers)) | given
        headers = [*given.items(), *exchange.limits]
        headers.append((b"x-request-id", exchange.request_id.encode()))
        headers.append((b"x-correlation-id", text_of(exchange.correlation_id).encode()))
        if exchange.traceparent:
            headers.append((b"traceparent", exchange.traceparent))
        if b"cache-control" not in given:
            headers.append(_NOT_STORED)
        return headers

    def _whole(self, headers: dict[bytes, bytes], body: bytes) -> bytes:
        """The body as it goes out, with what there is to say of it: nothing more of it is to come."""
        if self._status == 200 and self._scope["method"] == "GET" and b"etag" not in headers:
            body = self._tagged(headers, body)
        # Of what has not changed the same is said as of what would have been sent.
        media_type = headers.get(b"content-type", JSON if self._status == 304 else b"")
        if not is_compressible(media_type):
            return body
        headers[_VARIES[0]] = _VARIES[1]
        if len(body) >= GZIP_BYTES_MIN and takes_gzip(self._exchange.headers.get(b"accept-encoding", b"")):
            return _compressed(headers, body)
        return body

    def _tagged(self, headers: dict[bytes, bytes], body: bytes) -> bytes:
        """What has no version of its own is known by its bytes: nothing goes out to a caller that has these."""
        tag = b'"b-' + blake2b(body, digest_size=_TAG_BYTES).hexdigest().encode() + b'"'
        headers[b"etag"] = tag
        headers.setdefault(*_ASKED_AGAIN)
        if not is_known(self._exchange, tag):
            return body
        self._status = 304
        for name in (b"content-type", b"content-length", b"content-encoding"):
            headers.pop(name, None)
        return b""

    def count(self) -> None:
        """Add it to the metrics."""
        ANSWERED.count(self._exchange.operation or "none", self._status, self._seconds)

    def fact(self) -> RequestAnswered:
        """What the log says of it."""
        exchange, principal = self._exchange, self._exchange.principal
        return RequestAnswered(
            method=self._method,
            path=printable(self._scope["path"]),
            status=self._status,
            operation=exchange.operation or "none",
            code=exchange.code,
            milliseconds=round(self._seconds * 1000, 1),
            request_id=exchange.request_id,
            correlation_id=exchange.correlation_id,
            tenant_id=principal.tenant_id if principal else "",
            actor=principal.actor.id if principal else "",
        )


def _compressed(headers: dict[bytes, bytes], body: bytes) -> bytes:
    if b"content-encoding" in headers:
        return body
    smaller = gzipped(body)
    headers[b"content-encoding"] = b"gzip"
    headers[b"content-length"] = b"%d" % len(smaller)
    if (tag := headers.get(b"etag")) is not None:
        headers[b"etag"] = gzip_tag(tag)
    return smaller
