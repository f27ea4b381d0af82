"""Patterns that a whole text of a request has to fit."""

from __future__ import annotations

# To Python `$` also stands before a line break that ends the text; to JSON Schema it does not.
_AND_NO_LINE_BREAK = r"(?!\n)"


def whole(pattern: str) -> str:
    """The pattern, which ends with `$`, as Python has to be told it."""
    return pattern + _AND_NO_LINE_BREAK


def described(pattern: str) -> str:
    """The pattern of `whole` as JSON Schema has it."""
    return pattern.removesuffix(_AND_NO_LINE_BREAK)
