"""What a verification found: how much was looked at, and where something is not what the log says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Literal
from uuid import UUID

import msgspec

from audit.changes import Change

# So many are described; the rest is counted.
DIFFERENCES_MAX = 100

# `parked`: the engine knows that it could not apply an event. `unreadable`: nobody knows yet that it cannot be folded.
Problem = Literal["missing", "surplus", "differs", "parked", "unreadable"]


class Difference(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`where` names the read model, or the part of the log's own tables; `id` is that of the row, or the key's text.

    In `changes` stands what is stored as `before`, and what the log says as `after`; a path without a slash in front names
    a column beside the row. `position` says which version of the row it is about; null: the present one.
    """

    where: str
    tenant_id: UUID
    id: str
    problem: Problem
    position: int | None = None
    changes: tuple[Change, ...] = ()
    detail: str = ""


class Progress(msgspec.Struct, frozen=True):
    """How far one part has come, in the part's own unit."""

    where: str
    done: int
    of: int


Tell = Callable[[Progress], None]


class Findings:
    """What was found so far. `checked` counts by what was looked at, `skipped` says why a part was not; `problems` and
    `fields` count all differences by their kind, and those of the fields by their paths."""

    def __init__(self, differences_max: int = DIFFERENCES_MAX) -> None:
        self._differences_max = differences_max
        self.checked: Counter[str] = Counter()
        self.skipped: dict[str, str] = {}
        self.differences: list[Difference] = []
        self.problems: Counter[Problem] = Counter()
        self.fields: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """How many differences there are, described or not."""
        return self.problems.total()

    @property
    def are_good(self) -> bool:
        """Nothing that was looked at differs."""
        return self.count == 0

    def add(self, difference: Difference) -> None:
        """One more difference."""
        self.problems[difference.problem] += 1
        if difference.problem == "differs":
            self.fields.update(change.path for change in difference.changes)
        if len(self.differences) < self._differences_max:
            self.differences.append(difference)

    def take(self, other: Findings) -> None:
        """All that another found."""
        self.checked += other.checked
        self.skipped |= other.skipped
        self.differences += other.differences[: max(0, self._differences_max - len(self.differences))]
        self.problems += other.problems
        self.fields += other.fields
