"""One request on its way through: its ids, its caller once known, and where these are found again."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from secrets import token_hex
from typing import Any, cast
from uuid import UUID

import msgspec

from api.principal import Principal
from commands.ids import random_id
from domain.refusal import Refusal
from domain.uuids import named_uuid, text_of

_KEY = "dcf.exchange"
# Request ids that are no UUIDs of their own become one under this name, always the same.
_REQUEST_IDS = UUID("6f1d2f0e-6c5b-5f5e-9a55-2b9a1d6f4c11")
_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?")
_SPAN_BYTES = 8
# What may come once only: taking either of two would be a guess about who asks, what is repeated, or what is meant.
# If-Match is a list, but two lines of it are nearly always two conditions of which each was to hold.
SINGLE = frozenset(
    {
        b"authorization",
        b"content-type",
        b"dcf-tenant",
        b"host",
        b"idempotency-key",
        b"if-match",
        b"if-position",
        b"last-event-id",
        b"upload-complete",
        b"upload-length",
        b"upload-offset",
    }
)
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")


class Exchange(msgspec.Struct, kw_only=True):
    """`request_id` is the caller's own name for the request, or the correlation id as text.

    `traceparent` is our place in the trace the caller named, empty when it named none.
    `operation` is the route's name once one was found; `code` that of the refusal the request ended in.
    """

    correlation_id: UUID
    request_id: str
    headers: dict[bytes, bytes]
    # Names of headers that came more than once though they have one value.
    repeated: tuple[bytes, ...] = ()
    is_head: bool = False
    traceparent: bytes = b""
    operation: str = ""
    principal: Principal | None = None
    code: str = ""
    # The bytes of a body that was read whole.
    body_as_sent: bytes = b""
    # Keeps a refusal under the key of a write that is not decided yet, and gives what the caller is to be answered.
    keep: Callable[[Refusal], Awaitable[Any]] | None = None
    # Headers that say where the log has the refusal the request ended in.
    place: tuple[tuple[bytes, bytes], ...] = ()
    # Headers that say how many more requests the caller may make.
    limits: tuple[tuple[bytes, bytes], ...] = ()

    def header(self, name: bytes) -> str | None:
        """The value of a header, named in lower case; of several with one name, all of them with commas between."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")


def open_exchange(scope: MutableMapping[str, Any]) -> Exchange:
    """Begin the exchange of a request, from its X-Request-Id, else its traceparent, else a new id."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    repeated = _join_repeated(headers, scope["headers"]) if len(headers) != len(scope["headers"]) else ()
    trace_id, flags = _trace(headers)
    request_id = _request_id(headers)
    named = request_id or trace_id
    correlation_id = _uuid(named) if named else random_id()
    exchange = Exchange(
        correlation_id=correlation_id,
        request_id=request_id or text_of(correlation_id),
        headers=headers,
        repeated=repeated,
        is_head=scope["method"] == "HEAD",
        traceparent=f"00-{trace_id}-{token_hex(_SPAN_BYTES)}-{flags}".encode() if trace_id else b"",
    )
    scope[_KEY] = exchange
    return exchange


def exchange_of(scope: Mapping[str, Any] | Any) -> Exchange:
    """The exchange a request belongs to."""
    return cast("Exchange", scope[_KEY])


def _join_repeated(headers: dict[bytes, bytes], given: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, ...]:
    """Put together what came in several lines (RFC 9110, 5.3). Returns the names that can only come once."""
    values: dict[bytes, list[bytes]] = {}
    for name, value in given:
        values.setdefault(name, []).append(value)
    several = {name: found for name, found in values.items() if len(found) > 1}
    headers.update({name: b", ".join(found) for name, found in several.items()})
    return tuple(name for name in several if name in SINGLE)


def _request_id(headers: dict[bytes, bytes]) -> str:
    """The caller's own name for the request; empty when it gave none that can be one."""
    given = headers.get(b"x-request-id")
    return given.decode("ascii") if given is not None and _REQUEST_ID.fullmatch(given) else ""


def _trace(headers: dict[bytes, bytes]) -> tuple[str, str]:
    """The id and flags of the trace the caller is in (W3C Trace Context); empty when it is in none."""
    given = headers.get(b"traceparent")
    found = None if given is None else _TRACEPARENT.fullmatch(given)
    # Only versions that are yet to come may have more to say than this one.
    if found is None or found[1] == b"ff" or (found[1] == b"00" and found[4]):
        return "", ""
    return found[2].decode(), found[3].decode()


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        return named_uuid(_REQUEST_IDS, text)
