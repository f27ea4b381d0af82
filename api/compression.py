"""Answers made smaller for callers that take gzip."""

from __future__ import annotations

import zlib
from functools import lru_cache

# Below this an answer fits one packet either way.
GZIP_BYTES_MIN = 1_024
# Higher ones take twice the time for a few per cent.
_LEVEL = 4
_GZIP_FORMAT = 31
_TYPES = (b"application/json", b"application/problem+json", b"text/html")
_SUFFIX = b"-gzip"


def is_compressible(media_type: bytes) -> bool:
    """Whether bodies of the type get smaller, and are known as a whole: streams are not."""
    return media_type.partition(b";")[0] in _TYPES


@lru_cache(maxsize=128)
def takes_gzip(accept_encoding: bytes) -> bool:
    """Whether an Accept-Encoding header allows gzip (RFC 9110, 12.5.3)."""
    weights: dict[bytes, bool] = {}
    for part in accept_encoding.lower().split(b","):
        coding, _, parameters = part.partition(b";")
        weights[coding.strip()] = _weight(parameters) > 0
    return weights.get(b"gzip", weights.get(b"x-gzip", weights.get(b"*", False)))


def gzipped(body: bytes) -> bytes:
    """The body compressed; the same bytes for the same body."""
    return zlib.compress(body, _LEVEL, _GZIP_FORMAT)


def gzip_tag(tag: bytes) -> bytes:
    """The ETag of the compressed form: other bytes than the plain one has, of the same version."""
    return tag[:-1] + _SUFFIX + tag[-1:] if tag.endswith(b'"') else tag


def plain_tag(tag: bytes) -> bytes:
    """The ETag of the plain form, whichever form the caller was given; proxies that compress make it a weak one."""
    return tag.removeprefix(b"W/").replace(_SUFFIX, b"")


def _weight(parameters: bytes) -> float:
    name, _, value = parameters.strip().partition(b"=")
    if name.strip() != b"q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
