"""Rounds in which contestants take turns, so that whatever else the machine does meets all of them alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from benchmarks.effort import Effort
from benchmarks.figures import note

R = TypeVar("R")
Contestants = Mapping[str, Callable[[], Awaitable[R]]]


async def take_turns(what: str, contestants: Contestants[R], effort: Effort) -> dict[str, list[R]]:
    """What each contestant came to in each round. Whoever was first in one round is last in the next."""
    results: dict[str, list[R]] = {name: [] for name in contestants}
    order = list(contestants)
    for number in range(effort.rounds):
        note(f"{what}: round {number + 1} of {effort.rounds}")
        for name in order:
            results[name].append(await contestants[name]())
        order.append(order.pop(0))
    return results
