"""Every benchmark there is, by name."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from benchmarks import append
from benchmarks.effort import Effort

Benchmark = Callable[[Effort], Coroutine[Any, Any, dict[str, Any]]]

BENCHMARKS: dict[str, Benchmark] = {"append": append.measure}
