"""One request on its way through: its ids, its caller once known, and where these are found again."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import Any, cast
from uuid import UUID, uuid4, uuid5

import msgspec

from api.principal import Principal

_KEY = "dcf.exchange"
# Request ids that are no UUIDs of their own become one under this name, always the same.
_REQUEST_IDS = UUID("6f1d2f0e-6c5b-5f5e-9a55-2b9a1d6f4c11")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")


class Exchange(msgspec.Struct, kw_only=True):
    """`request_id` is the caller's own name for the request, or the correlation id as text.

    `operation` is the route's name once one was found; `code` that of the refusal the request ended in.
    """

    correlation_id: UUID
    request_id: str
    headers: dict[bytes, bytes]
    operation: str = ""
    principal: Principal | None = None
    code: str = ""
    # Headers that say how many more requests the caller may make.
    limits: tuple[tuple[bytes, bytes], ...] = ()

    def header(self, name: bytes) -> str | None:
        """The value of a header, named in lower case; of several with one name, the last."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")


def open_exchange(scope: MutableMapping[str, Any]) -> Exchange:
    """Begin the exchange of a request, from its X-Request-Id, else its traceparent, else a new id."""
    headers = dict(scope["headers"])
    exchange = _named(headers)
    scope[_KEY] = exchange
    return exchange


def exchange_of(scope: Mapping[str, Any] | Any) -> Exchange:
    """The exchange a request belongs to."""
    return cast("Exchange", scope[_KEY])


def _named(headers: dict[bytes, bytes]) -> Exchange:
    given = headers.get(b"x-request-id", b"")
    if given and _REQUEST_ID.fullmatch(given):
        text = given.decode("ascii")
        return Exchange(correlation_id=_uuid(text), request_id=text, headers=headers)
    trace = _TRACEPARENT.fullmatch(headers.get(b"traceparent", b""))
    correlation_id = UUID(trace[1].decode()) if trace else uuid4()
    return Exchange(correlation_id=correlation_id, request_id=str(correlation_id), headers=headers)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        return uuid5(_REQUEST_IDS, text)
