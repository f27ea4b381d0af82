"""What strangers send takes a moment and little room: asserted once for the time and once, traced, for the memory."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable


def assert_bounded(call: Callable[[], object], *, seconds_max: float, bytes_max: int) -> None:
    """Call it twice: first for its processor time, then for the most memory it has at once. Tracing takes time of its own."""
    begun = time.thread_time()
    call()
    seconds = time.thread_time() - begun
    was_tracing = tracemalloc.is_tracing()
    if not was_tracing:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        call()
        _, most = tracemalloc.get_traced_memory()
    finally:
        if not was_tracing:
            tracemalloc.stop()
    assert seconds < seconds_max, f"{seconds:.2f} s"
    assert most - before < bytes_max, f"{most - before} bytes"
