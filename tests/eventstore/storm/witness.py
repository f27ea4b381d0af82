"""Who follows the log while the storm goes over it, and what can be wrong with what they saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import msgspec

from tests.eventstore.storm.order import entries


class Sight(msgspec.Struct, frozen=True):
    """One event as the reader was given it, in its order."""

    position: int
    stream_id: UUID
    version: int
    key: str
    at: datetime | None = None


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """All empty: nothing is wrong. `acknowledged` is how many commands somebody was told were recorded."""

    acknowledged: int
    # Acknowledged and never seen.
    missing: list[str]
    # Seen more than once.
    doubled: list[str]
    # Rolled back, and seen all the same.
    undead: list[str]
    # Seen elsewhere than was acknowledged.
    misplaced: list[str]
    # Positions that do not follow the one before.
    gaps: list[int]
    # Events that do not follow the version before in their stream.
    disordered: list[str]
    # Recorded before what stands in front of it.
    backwards: list[int]

    @property
    def is_clean(self) -> bool:
        return not any(
            (self.missing, self.doubled, self.undead, self.misplaced, self.gaps, self.disordered, self.backwards)
        )


def findings(seen: Sequence[Sight], diaries: Sequence[Path]) -> Findings:
    """What is wrong between what the writers were told and what the reader saw."""
    told = [entry for diary in diaries for entry in entries(diary)]
    acknowledged = {key: position for mark, key, position in told if mark == "+"}
    rolled_back = {key for mark, key, _ in told if mark == "-"}
    times = Counter(sight.key for sight in seen)
    place = {sight.key: sight.position for sight in seen}
    return Findings(
        acknowledged=len(acknowledged),
        missing=sorted(acknowledged.keys() - times.keys()),
        doubled=sorted(key for key, count in times.items() if count > 1),
        undead=sorted(rolled_back & times.keys()),
        misplaced=sorted(key for key, at in acknowledged.items() if at and place.get(key, at) != at),
        gaps=[sight.position for n, sight in enumerate(seen, start=1) if sight.position != n],
        disordered=_disordered(seen),
        backwards=[b.position for a, b in pairwise(seen) if a.at is not None and b.at is not None and b.at < a.at],
    )


def _disordered(seen: Sequence[Sight]) -> list[str]:
    versions: dict[UUID, int] = {}
    found = []
    for sight in seen:
        if sight.version != versions.get(sight.stream_id, 0) + 1:
            found.append(sight.key)
        versions[sight.stream_id] = sight.version
    return found
