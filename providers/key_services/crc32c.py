"""CRC-32C (Castagnoli), by which Google tells that what it got is what was sent; for some hundred bytes at a time."""

from __future__ import annotations

_POLYNOMIAL = 0x82F63B78
_ALL = 0xFFFF_FFFF


def _entry(index: int) -> int:
    for _ in range(8):
        index = index >> 1 ^ (_POLYNOMIAL if index & 1 else 0)
    return index


_TABLE = tuple(map(_entry, range(256)))


def crc32c(content: bytes) -> int:
    """The checksum, from 0 to 2**32 - 1."""
    value = _ALL
    for byte in content:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ _ALL
