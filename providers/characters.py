"""Logs of clouds arrive in pieces that end anywhere, also within a character."""

from __future__ import annotations


def whole_characters(content: bytes) -> bytes:
    """Without the beginning of a character whose rest is still to come."""
    for missing in range(1, min(4, len(content)) + 1):
        lead = content[-missing]
        if lead & 0xC0 == 0xC0:
            length = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return content[:-missing] if length > missing else content
        if lead < 0x80:
            return content
    return content
