"""Texts without the values of secrets that are known."""

from __future__ import annotations

from collections.abc import Mapping

# What is shorter stands in too many words that are no secret.
HIDDEN_CHARACTERS_MIN = 4
HIDDEN_AS = "********"


def hide(text: str, secrets: Mapping[str, str]) -> str:
    """The text without the secrets' values, each line of those that have several too; the longest are hidden first."""
    for value in _values(secrets):
        text = text.replace(value, HIDDEN_AS)
    return text


def ends_within(text: str, secrets: Mapping[str, str]) -> bool:
    """Whether the text may end inside a value: what follows would have to be seen before it is hidden."""
    return any(
        text.endswith(value[:length])
        for value in _values(secrets)
        for length in range(1, min(len(value), len(text) + 1))
    )


def _values(secrets: Mapping[str, str]) -> list[str]:
    found = {part for value in secrets.values() for part in (value, *value.splitlines())}
    return sorted((value for value in found if len(value) >= HIDDEN_CHARACTERS_MIN), key=len, reverse=True)
