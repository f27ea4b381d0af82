"""A value that must not be seen: it hides itself wherever it is shown, and is asked for by name."""

from __future__ import annotations

from typing import Final


class Secret:
    """Holds a secret text. `repr`, `str`, formats and logs show stars; `reveal()` gives the text."""

    __slots__ = ("_text",)

    _SHOWN: Final = "********"

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return self._SHOWN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))
