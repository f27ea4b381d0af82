"""A multipart form with one file, read as it arrives."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Collection
from typing import IO, Any

import msgspec
from litestar import Request
from multipart import (  # type: ignore[import-untyped]  # it ships no types
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from api.exchange import exchange_of
from api.refusals import BodyInvalid, BodyTooLarge, FormMalformed, MediaTypeNotTaken
from domain.refusal import FieldError

FIELD_BYTES_MAX = 1024
PARTS_MAX = 8
# What a form may have around its file: edges, headers and the other fields.
AROUND_BYTES_MAX = 16 * 1024
_FILE = "file"


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """What the part `file` is called, its digest computed on the way (`sha256:…`), and the texts of the other parts."""

    file_name: str
    digest: str
    fields: dict[str, str]


async def read_form(
    request: Request[Any, Any, Any],
    chunks: AsyncIterator[bytes],
    into: IO[bytes],
    *,
    fields: Collection[str],
    file_bytes_max: int,
) -> Form:
    """Read the form to its end, and write its file down as it comes.

    Raises MediaTypeNotTaken, FormMalformed, BodyTooLarge or BodyInvalid.
    """
    reading = _Reading(_parser(request), into, fields, file_bytes_max)
    try:
        async for chunk in chunks:
            reading.take(chunk)
        return reading.form()
    except ParserLimitReached as error:
        raise FormMalformed(f"The form has too many or too long parts: {error}.") from error
    except (MultipartError, UnicodeDecodeError) as error:
        raise FormMalformed(f"The form cannot be read to its end: {error}.") from error


class _Reading:
    """A form half read."""

    def __init__(
        self, parser: PushMultipartParser, into: IO[bytes], fields: Collection[str], file_bytes_max: int
    ) -> None:
        self._parser, self._into, self._known, self._file_bytes_max = parser, into, fields, file_bytes_max
        self._part: MultipartSegment | None = None
        self._file_bytes = 0
        self._hash = hashlib.sha256()
        self._file_name: str | None = None
        self._fields: dict[str, bytearray] = {}

    def take(self, chunk: bytes) -> None:
        for found in self._parser.parse(chunk):
            match found:
                case MultipartSegment():
                    self._begin(found)
                case None:
                    self._part = None
                case piece:
                    self._add(piece)

    def form(self) -> Form:
        self._parser.close()
        if self._file_name is None:
            raise _invalid(_FILE, "the part is missing")
        return Form(
            file_name=self._file_name,
            digest=f"sha256:{self._hash.hexdigest()}",
            fields={name: text.decode() for name, text in self._fields.items()},
        )

    def _begin(self, part: MultipartSegment) -> None:
        name = part.name or ""
        if name in self._fields or (name == _FILE and self._file_name is not None):
            raise _invalid(name, "given twice")
        if name == _FILE:
            if part.filename is None:
                raise _invalid(_FILE, "it has no file name")
            self._file_name = part.filename
        elif name in self._known:
            self._fields[name] = bytearray()
        else:
            raise _invalid(name[:64], "unknown part")
        self._part = part

    def _add(self, piece: bytes | bytearray) -> None:
        assert self._part is not None, "pieces come between a part's beginning and its end"
        name = self._part.name or ""
        if name == _FILE:
            self._file_bytes += len(piece)
            if self._file_bytes > self._file_bytes_max:
                raise _too_large(name, self._file_bytes_max)
            self._into.write(piece)
            self._hash.update(piece)
            return
        self._fields[name] += piece
        if len(self._fields[name]) > FIELD_BYTES_MAX:
            raise _too_large(name, FIELD_BYTES_MAX)


def _parser(request: Request[Any, Any, Any]) -> PushMultipartParser:
    media_type, options = parse_options_header(exchange_of(request.scope).header(b"content-type") or "")
    if media_type != "multipart/form-data":
        raise MediaTypeNotTaken(
            "This request takes multipart/form-data.", remedy="Send a form with the parts `file` and `projectId`."
        )
    boundary = options.get("boundary", "")
    try:
        return PushMultipartParser(boundary, max_segment_count=PARTS_MAX)
    except (MultipartError, UnicodeError) as error:
        raise FormMalformed("The Content-Type names no boundary the form could have.") from error


def _too_large(name: str, limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"The part {name!r} has more than the {limit} bytes it may have.",
        errors=(FieldError(field=name, message=f"at most {limit} bytes"),),
        remedy="Send a smaller file, or ask for a plan that allows larger ones." if name == _FILE else "Send less.",
    )


def _invalid(name: str, message: str) -> BodyInvalid:
    return BodyInvalid(
        f"The form's part {name!r} cannot be used: {message}.",
        errors=(FieldError(field=name, message=message),),
        remedy="Send the parts `file` (with a file name), `projectId` and, when several are connected, `provider`.",
    )
