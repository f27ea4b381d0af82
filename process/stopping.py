"""How a process is asked to stop: SIGTERM or SIGINT sets one event that everything waits on; and how it is gone in time."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

log = structlog.get_logger()


@contextmanager
def stop_requested() -> Iterator[asyncio.Event]:
    """The event that the first SIGTERM or SIGINT sets. The second one of the same kind ends the process at once."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()

    def request(number: signal.Signals) -> None:
        event.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, request, number)
    try:
        yield event
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@contextmanager
def gone_in_time() -> Iterator[Callable[[float], None]]:
    """What is yielded is told how many seconds are left: after them the process ends, though the block does not.

    For when nothing is left but to close what is open: a database that does not answer has its sessions closed never. Whoever
    says so has nothing to lose any more.
    """
    timers: list[threading.Timer] = []

    def within(seconds: float) -> None:
        timer = threading.Timer(seconds, _end)
        timer.daemon = True
        timer.start()
        timers.append(timer)

    try:
        yield within
    finally:
        for timer in timers:
            timer.cancel()


def _end() -> None:
    log.warning("ended_without_closing")
    os._exit(0)
