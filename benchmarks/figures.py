"""What is told of many measurements: medians, percentiles, ratios, and a line of progress for whoever watches."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Sequence
from typing import Any

Figures = dict[str, Any]


def median(values: Iterable[float]) -> float:
    """The median, of at least one value, to as many digits as mean something."""
    return rounded(statistics.median(values))


def percentile_ms(seconds: Sequence[float], percent: float) -> float:
    """How many milliseconds at most so many percent of all took."""
    ordered = sorted(seconds)
    return rounded(ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1000)


def ratio(ours: float, peer: float) -> float:
    """How many times as much."""
    return rounded(ours / peer)


def rounded(value: float) -> float:
    """To four significant digits: more would only show the noise."""
    return float(f"{value:.4g}")


def note(text: str) -> None:
    """Tell whoever watches how far it is."""
    print(text, file=sys.stderr, flush=True)
