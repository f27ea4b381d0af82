"""An event loop in a thread of its own, for callers that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from threading import Lock, Thread, current_thread
from typing import Any, TypeVar

T = TypeVar("T")


class Closed(Exception):
    """The infrastructure was closed; make a new factory."""


class Background:
    """Runs coroutines for threads that have no loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._handing_over = Lock()
        self._stopped = False
        # The thread knows the loop only: whoever forgets this object can still be collected. It is a daemon, because
        # the library often leaves its recorders to the end of the process.
        self._thread = Thread(target=_run, args=(self._loop,), name="eventsourcing bridge", daemon=True)
        self._thread.start()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Its result to come; cancelling that cancels the coroutine. Raises Closed."""
        with self._handing_over:
            if self._stopped:
                coroutine.close()
                raise Closed
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Its result, waited for; or what it raises. Raises Closed when it was stopped in between."""
        try:
            return self.start(coroutine).result()
        except CancelledError:
            raise Closed from None

    def stop(self, last: Coroutine[Any, Any, None]) -> None:
        """Run `last`, cancel what is still under way, and end the thread.

        Asked by the thread itself (at a collected object's end), it is not waited for.
        """
        with self._handing_over:
            self._stopped = True
            end = asyncio.run_coroutine_threadsafe(_end(last), self._loop)
        end.add_done_callback(lambda _end: self._loop.call_soon_threadsafe(self._loop.stop))
        if current_thread() is not self._thread:
            self._thread.join()
            end.result()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _end(last: Coroutine[Any, Any, None]) -> None:
    try:
        await last
    finally:
        # Nobody may be left waiting for an answer that cannot come.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
