"""Which callers take gzip, and what becomes of an answer's bytes and its ETag."""

from __future__ import annotations

import gzip

import pytest

from api.compression import gzip_tag, gzipped, plain_tag, takes_gzip


@pytest.mark.parametrize(
    ("header", "takes"),
    [
        (b"", False),
        (b"gzip", True),
        (b"GZIP", True),
        (b"x-gzip", True),
        (b"deflate, gzip;q=1.0, *;q=0.5", True),
        (b"gzip;q=0", False),
        (b"gzip;q=0.0, *", False),
        (b"*", True),
        (b"*;q=0", False),
        (b"br, deflate", False),
        (b"gzip;q=nonsense", False),
        (b"gzip ; q=0.2", True),
    ],
)
def test_gzip_is_taken_where_the_header_allows_it(header: bytes, takes: bool) -> None:
    assert takes_gzip(header) is takes


def test_the_same_bytes_are_compressed_the_same_way() -> None:
    body = b'{"a":1}' * 1000

    assert gzipped(body) == gzipped(body)
    assert gzip.decompress(gzipped(body)) == body


@pytest.mark.parametrize("tag", [b'"12"', b'"12-gzip"', b'W/"12"', b'W/"12-gzip"'])
def test_each_form_of_a_tag_names_the_same_version(tag: bytes) -> None:
    assert plain_tag(tag) == b'"12"'


def test_the_smaller_form_has_a_tag_of_its_own() -> None:
    assert gzip_tag(b'"12"') == b'"12-gzip"'
