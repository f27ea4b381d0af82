"""How a process is asked to stop: SIGTERM or SIGINT sets one event that everything waits on; and how it is gone in time."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

# Whoever runs us often waits ten seconds before killing, and our own supervisor nine.
GONE_SECONDS_MAX = 8.5


@contextmanager
def stop_requested(gone_seconds_max: float | None = None) -> Iterator[asyncio.Event]:
    """The event that the first SIGTERM or SIGINT sets. The second one of the same kind ends the process at once.

    `gone_seconds_max` after the first the process ends, though the block has not: a database that keeps its connections open and
    says nothing lets none of them be closed, nor anything begin. What is under way then is as with a process that is killed.
    """
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    timers: list[threading.Timer] = []

    def request(number: signal.Signals) -> None:
        event.set()
        loop.remove_signal_handler(number)
        if gone_seconds_max is not None and not timers:
            timers.append(_end_in(gone_seconds_max))

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, request, number)
    try:
        yield event
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        for timer in timers:
            timer.cancel()


def _end_in(seconds: float) -> threading.Timer:
    timer = threading.Timer(seconds, _end)
    timer.daemon = True
    timer.start()
    return timer


def _end() -> None:
    structlog.get_logger().warning("ended_without_closing")
    os._exit(0)
