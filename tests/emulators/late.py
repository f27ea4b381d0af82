"""A customer's shell whose commands may take their time to show."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager


class LateShell(ABC):
    """Does what it is told at once, unless what was given has to spread."""

    def __init__(self) -> None:
        self._spreading: list[str] | None = None

    def obey(self, words: str) -> None:
        """Do what the text says from its first command on. Raises NotACommand."""
        if self._spreading is None:
            self._run(words)
        else:
            self._spreading.append(words)

    @contextmanager
    def spreading(self) -> Iterator[None]:
        """What is told while it lasts shows only afterwards."""
        told: list[str] = []
        self._spreading = told
        try:
            yield
        finally:
            self._spreading = None
        for words in told:
            self._run(words)

    @abstractmethod
    def _run(self, words: str) -> None: ...
