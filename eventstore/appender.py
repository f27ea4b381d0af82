"""Group commit: what callers queue while a batch is being written is the next batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import structlog

from eventstore.lane import Lane, Settled
from eventstore.limits import append_bytes
from eventstore.log import Append, LogBusy, Outcome, OutcomeUnknown
from eventstore.session import OpenSession
from eventstore.waiting import Waiter, Waiting

# How long a batch whose session was lost is tried again before its callers are told that nobody knows.
RESEND_SECONDS_MAX = 10.0
# The database settles one batch at a time, but while it does, another lane makes the next one ready and hands out the
# last one's outcomes. With fewer waiting than this, splitting them costs more than it saves.
LANES = 2
LANE_APPENDS_MIN = 64


class Appender:
    """Callers queue, lanes write. Use it as a context: leaving it writes what still waits."""

    def __init__(
        self,
        open_session: OpenSession,
        *,
        advanced: Callable[[int], None],
        resend_seconds_max: float = RESEND_SECONDS_MAX,
    ) -> None:
        """`advanced` is told every position the log is known to have reached."""
        self._idle = [
            Lane(open_session, advanced=self._advance, end=lambda: self._end, resend_seconds_max=resend_seconds_max)
            for _ in range(LANES)
        ]
        self._advanced = advanced
        self._end = 0
        self._waiting = Waiting()
        self._under_way: dict[asyncio.Task[None], Sequence[Waiter]] = {}
        self._dispatches = False
        self._closing = False
        # To ask which loop runs is to ask the system which process this is: once is enough.
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._dispatch()
        while self._under_way:
            await asyncio.wait(self._under_way)
        for lane in self._idle:
            lane.close()

    def __len__(self) -> int:
        """How many appends wait."""
        return len(self._waiting)

    async def append(self, append: Append) -> Outcome:
        """As Log.append. A caller that is cancelled before its batch is sent takes its append back."""
        size = append_bytes(append)
        if self._closing:
            raise LogBusy
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Outcome] = loop.create_future()
        self._waiting.put(Waiter(append, size, outcome))
        if not self._dispatches:
            # Not at once: whoever else is about to append in this turn of the loop comes along.
            self._dispatches = True
            loop.call_soon(self._dispatch)
        return await outcome

    def _dispatch(self) -> None:
        """Give what waits to the lanes that are free."""
        self._dispatches = False
        while self._idle and self._waiting:
            if self._under_way and len(self._waiting) < LANE_APPENDS_MIN:
                return
            batch = self._waiting.take(self._share(), behind=[w for batch in self._under_way.values() for w in batch])
            if not batch:
                return
            task = asyncio.create_task(self._write(self._idle.pop(), batch), name="log append")
            self._under_way[task] = batch
            task.add_done_callback(self._written)

    def _share(self) -> int:
        """How many one lane takes now: all, or half of many, so that the other lane has something to do."""
        waiting = len(self._waiting)
        return waiting if self._under_way or waiting < 2 * LANE_APPENDS_MIN else (waiting + 1) // LANES

    def _written(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        self._dispatch()

    async def _write(self, lane: Lane, batch: Sequence[Waiter]) -> None:
        settled: Sequence[Settled]
        try:
            settled = await lane.settle([waiter.append for waiter in batch])
        except Exception as error:  # noqa: BLE001 -- a fault of ours must neither leave callers waiting nor stop the log
            structlog.get_logger().exception("append_failed", count=len(batch))
            settled = [OutcomeUnknown(repr(error))] * len(batch)
        finally:
            self._idle.append(lane)
        _tell(batch, settled)

    def _advance(self, position: int) -> None:
        self._end = max(self._end, position)
        self._advanced(self._end)


def _tell(batch: Sequence[Waiter], settled: Sequence[Settled]) -> None:
    for waiter, result in zip(batch, settled, strict=True):
        if waiter.outcome.done():
            continue  # Its caller was cancelled; the log keeps the truth.
        if isinstance(result, Exception):
            waiter.outcome.set_exception(result)
        else:
            waiter.outcome.set_result(result)
