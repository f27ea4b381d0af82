"""How much work a benchmark may put into its figures."""

from __future__ import annotations

import msgspec

ROUNDS = 5
SECONDS = 1.0


class Effort(msgspec.Struct, frozen=True, kw_only=True):
    """`rounds` are what medians are taken of; `seconds` is the length of one measurement.

    `quick` shrinks everything to what shows that a benchmark runs; its figures mean nothing.
    """

    rounds: int = ROUNDS
    seconds: float = SECONDS
    quick: bool = False

    @classmethod
    def smallest(cls) -> Effort:
        """As little as shows that it runs."""
        return cls(rounds=1, seconds=0.05, quick=True)
