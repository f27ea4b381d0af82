"""Every benchmark there is."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from benchmarks.append import append
from benchmarks.catchup import catchup
from benchmarks.effort import Effort
from benchmarks.figures import Figures
from benchmarks.growth import growth
from benchmarks.http_command import http_command
from benchmarks.http_status import http_status
from benchmarks.load import load
from benchmarks.read_your_writes import read_your_writes
from benchmarks.rebuild import rebuild
from benchmarks.rebuild_live import rebuild_live
from benchmarks.runner import runner
from benchmarks.transparency import transparency


class Benchmark(msgspec.Struct, frozen=True):
    """`run` may take minutes; what it returns is printed as JSON."""

    name: str
    summary: str
    run: Callable[[Effort], Coroutine[Any, Any, Figures]]


BENCHMARKS = (
    Benchmark("append", "one-event appends at 1, 32 and 256 callers, against the library and a plain INSERT", append),
    Benchmark(
        "growth", "appends, loads and reads at 0.1, 1 and 3 million events, also beside an open snapshot", growth
    ),
    Benchmark("load", "streams loaded and folded, against the library's repository", load),
    Benchmark("http_status", "GET of a deployment over HTTP, against a bare Litestar handler", http_status),
    Benchmark(
        "http_command", "function updates over HTTP, against a bare Litestar handler with an INSERT", http_command
    ),
    Benchmark("catchup", "one worker through the whole log, against the library's runner and a bare read", catchup),
    Benchmark("read_your_writes", "from a write's answer to a read that shows it, against wait()", read_your_writes),
    Benchmark("runner", "100, 1,000 and 3,000 deployments in flight in one runner on a slow cloud", runner),
    Benchmark("rebuild", "a million events into the deployments read model, in two processes", rebuild),
    Benchmark("transparency", "the tree over the log, against a bare read; appends while it is kept", transparency),
    Benchmark("rebuild_live", "reads over HTTP while every read model is rebuilt, against reads without", rebuild_live),
)
