"""What is told of many measurements: medians, percentiles, ratios, and a line of progress for whoever watches."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence


def median(values: Sequence[float]) -> float:
    """The median, of at least one value."""
    return statistics.median(values)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of all are not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def rounded(value: float, digits: int = 3) -> float:
    """To so many significant digits: more would only show the noise."""
    return float(f"{value:.{digits}g}")


def note(text: str) -> None:
    """Tell whoever watches how far it is."""
    print(text, file=sys.stderr, flush=True)
