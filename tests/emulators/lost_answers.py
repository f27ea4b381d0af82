"""Answers that are lost after their effect: of every kind of effect the first one."""

from __future__ import annotations

import threading


class LostAnswers:
    """`lost` are the kinds whose first answer was lost since it was begun."""

    def __init__(self) -> None:
        self.lost: set[str] = set()
        self._is_on, self._lock = False, threading.Lock()

    def begin(self) -> None:
        self._is_on, self.lost = True, set()

    def end(self) -> None:
        self._is_on = False

    def takes(self, effect: str) -> bool:
        """Whether the answer to an effect of this kind is to be lost; one that is called nothing is none."""
        with self._lock:
            if not self._is_on or not effect or effect in self.lost:
                return False
            self.lost.add(effect)
            return True
