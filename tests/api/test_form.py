"""Multipart forms, whatever they hold and however they arrive: read to the end, or refused by name."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from litestar import Request

from api.exchange import open_exchange
from api.form import FIELD_BYTES_MAX, Form, read_form
from domain.refusal import Refusal

FILE_BYTES_MAX = 200
_PIECES = (
    *(
        b"--edge",
        b"--edge--",
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b"--",
        b"edge",
        b"Content-Disposition: form-data",
        b":",
    ),
    *(
        b"; name=",
        b'"file"',
        b'"projectId"',
        b'"other"',
        b"; filename=",
        b'"main.dart"',
        b"; filename*=utf-8''%ff",
        b"\xff",
    ),
    *(
        b"Content-Type: text/plain",
        b"Content-Transfer-Encoding: base64",
        b"Content-Length: 9",
        b"x" * 210,
        b"\x00",
        b'"',
    ),
)


def whole(content: bytes, project: bytes = b"p") -> bytes:
    """A form as it should be."""
    return (
        b'--edge\r\nContent-Disposition: form-data; name="projectId"\r\n\r\n' + project + b"\r\n"
        b'--edge\r\nContent-Disposition: form-data; name="file"; filename="main.dart"\r\n\r\n'
        + content
        + b"\r\n--edge--\r\n"
    )


def taken(
    body: bytes, cuts: list[int], content_type: bytes = b"multipart/form-data; boundary=edge"
) -> tuple[Form, bytes] | Refusal:
    """What comes of the body, arriving in pieces that end at the cuts: the form and its file."""

    async def chunks() -> AsyncIterator[bytes]:
        edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
        for begin, end in pairwise(edges):
            if begin < end:  # An empty piece is never passed on: it would end the form.
                yield body[begin:end]

    async def reading() -> tuple[Form, bytes]:
        scope: dict[str, Any] = {"type": "http", "method": "POST", "headers": [(b"content-type", content_type)]}
        open_exchange(scope)
        request: Request[Any, Any, Any] = Request(scope)  # type: ignore[arg-type]  # only what is read of one
        into = io.BytesIO()
        form = await read_form(request, chunks(), into, fields=("projectId",), file_bytes_max=FILE_BYTES_MAX)
        return form, into.getvalue()

    try:
        return asyncio.run(reading())
    except Refusal as refusal:
        return refusal


_CUTS = st.lists(st.integers(0, 2_000), max_size=6)


class TestAnyForm:
    @settings(max_examples=60)
    @given(st.binary(max_size=60), _CUTS)
    def test_is_the_same_however_it_arrives(self, content: bytes, cuts: list[int]) -> None:
        found = taken(whole(content), cuts)

        if b"--edge" not in content:
            assert not isinstance(found, Refusal)
            form, came = found
            assert (came, form.file_name, form.fields) == (content, "main.dart", {"projectId": "p"})
            assert form.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"

    @settings(max_examples=150)
    @given(st.lists(st.sampled_from(_PIECES), max_size=25).map(b"".join), _CUTS)
    def test_is_read_or_refused(self, body: bytes, cuts: list[int]) -> None:
        found = taken(body, cuts)

        if not isinstance(found, Refusal):
            form, came = found
            assert len(came) <= FILE_BYTES_MAX
            assert all(len(text.encode()) <= FIELD_BYTES_MAX for text in form.fields.values())

    @settings(max_examples=60)
    @given(st.integers(0, 400), st.sampled_from(_PIECES), _CUTS)
    def test_may_be_damaged_anywhere(self, at: int, piece: bytes, cuts: list[int]) -> None:
        body = whole(b"void main() {}")

        taken(body[: at % len(body)] + piece + body[at % len(body) :], cuts)

    @settings(max_examples=60)
    @given(st.one_of(st.binary(max_size=40), st.sampled_from([b"", b"x" * 300, b'"', b"\xff", b'"a\\"'])))
    def test_may_name_any_boundary(self, boundary: bytes) -> None:
        taken(whole(b""), [], b"multipart/form-data; boundary=" + boundary)
