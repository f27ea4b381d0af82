"""A request's body: read within a limit, and turned into the Struct it should be, or a refusal that names the field."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Hashable
from functools import cache
from typing import Any, TypeVar, cast

import msgspec
from litestar import Request

from api.exchange import exchange_of
from api.json_fields import canonical
from api.misfit import fields_taken, misfit
from api.refusals import BodyInvalid, BodyMalformed, BodyTooLarge, MediaTypeNotTaken
from api.services import services_of
from domain.refusal import FieldError

T = TypeVar("T")

_GOT_FLOAT = "got `float`"
_CHARSET = re.compile(r"""charset\s*=\s*"?([^\s;"]+)""", re.IGNORECASE)


async def read(request: Request[Any, Any, Any], type: type[T]) -> tuple[T, bytes]:
    """The body as the type, and what it says in canonical form. An empty body counts as an empty object.

    Raises BodyTooLarge, MediaTypeNotTaken, BodyMalformed, FieldRepeated or BodyInvalid.
    """
    bytes_max = services_of(request).request_bytes_max
    _check_announced(request, bytes_max)
    # Not by `streamed`: nearly every body comes in one piece, and a generator costs more than taking that.
    body, goes_on = await _next(request)
    pieces, size = [body], len(body)
    while goes_on and size <= bytes_max:
        piece, goes_on = await _next(request)
        pieces.append(piece)
        size += len(piece)
    if size > bytes_max:
        raise _too_large(bytes_max)
    if len(pieces) > 1:
        body = b"".join(pieces)
    if body:
        _check_media_type(request)
    exchange_of(request.scope).body_as_sent = body
    return decoded(body or b"{}", type)


async def streamed(request: Request[Any, Any, Any], *, bytes_max: int) -> AsyncIterator[bytes]:
    """The body piece by piece, until it is all there. Raises BodyTooLarge or, when the caller leaves, BodyMalformed."""
    _check_announced(request, bytes_max)
    size, goes_on = 0, True
    while goes_on:
        chunk, goes_on = await _next(request)
        size += len(chunk)
        if size > bytes_max:
            raise _too_large(bytes_max)
        if chunk:
            yield chunk


async def _next(request: Request[Any, Any, Any]) -> tuple[bytes, bool]:
    """The next piece, and whether there is more to come."""
    message: Any = await request.receive()
    if message["type"] == "http.disconnect":
        raise BodyMalformed("The connection ended before the body did.")
    return message.get("body", b""), message.get("more_body", False)


def _check_announced(request: Request[Any, Any, Any], bytes_max: int) -> None:
    headers = exchange_of(request.scope).headers
    coding = headers.get(b"content-encoding")
    if coding is not None and coding.strip().lower() not in (b"", b"identity"):
        raise MediaTypeNotTaken(
            f"This request takes a body as it is, not in the encoding {coding[:40].decode('latin-1')}.",
            errors=(FieldError(field="Content-Encoding", message="not taken"),),
            remedy="Send the body without Content-Encoding.",
        )
    transfer = headers.get(b"transfer-encoding")
    if transfer is not None and transfer.strip().lower() != b"chunked":
        raise MediaTypeNotTaken(
            f"This request takes a body as it is, not in the transfer encoding {transfer[:40].decode('latin-1')}.",
            errors=(FieldError(field="Transfer-Encoding", message="only chunked is taken"),),
            remedy="Send the body with a Content-Length, or with Transfer-Encoding: chunked.",
        )
    announced = headers.get(b"content-length", b"")
    if announced.isdigit() and int(announced) > bytes_max:
        raise _too_large(bytes_max)


def decoded(body: bytes, type: type[T]) -> tuple[T, bytes]:
    """The bytes as the type, and in canonical form. Raises BodyMalformed, FieldRepeated or BodyInvalid."""
    try:
        value: T = _decoder(cast("Hashable", type)).decode(body)
        return value, canonical(body)
    except msgspec.ValidationError as error:
        content = canonical(body)
        if _GOT_FLOAT in str(error):
            return _with_whole_numbers(body, type), content
        raise _invalid(error, body, type) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BodyMalformed(f"The body is not JSON: {error}.") from error


def _with_whole_numbers(body: bytes, type: type[T]) -> T:
    """As `decoded`, with `3.0` for 3: to JSON Schema, and to languages that know one kind of number, both are integers."""
    try:
        return msgspec.convert(_whole(msgspec.json.decode(body)), type)
    except msgspec.ValidationError as error:
        raise _invalid(error, body, type) from error


def _whole(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_whole(item) for item in value]
        case dict():
            return {name: _whole(item) for name, item in value.items()}
        case _:
            return value


def _invalid(error: msgspec.ValidationError, body: bytes, type: Any) -> BodyInvalid:
    """The refusal for what msgspec found."""
    found = misfit(error, type, lambda: msgspec.json.decode(body))
    taken = fields_taken(type, found.field, _as_it_came(body))
    return BodyInvalid(
        f"The body does not have the form this request takes: {found.message}.",
        errors=(msgspec.structs.replace(found, field=found.field or "body"),),
        remedy=f"{taken} GET /api/v1/openapi.json shows each of them." if taken else "",
    )


def _as_it_came(body: bytes) -> Any:
    """None when it breaks off behind what was wrong."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


@cache
def _decoder(type: Hashable) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(cast("Any", type))


def _check_media_type(request: Request[Any, Any, Any]) -> None:
    header = exchange_of(request.scope).header(b"content-type")
    given, _, parameters = ("application/json" if header is None else header).partition(";")
    given = given.strip().lower()
    if given != "application/json" and not given.endswith("+json"):
        raise MediaTypeNotTaken(
            f"This request takes application/json, not {given[:100]}.", remedy="Send Content-Type: application/json."
        )
    charset = _CHARSET.search(parameters)
    if charset is not None and charset[1].lower() not in ("utf-8", "utf8", "us-ascii"):
        raise MediaTypeNotTaken(
            f"JSON is UTF-8 (RFC 8259, 8.1), not {charset[1][:40]}.",
            remedy="Send the body in UTF-8, and Content-Type: application/json.",
        )


def _too_large(bytes_max: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body has more than the {bytes_max} bytes this request may have.")
