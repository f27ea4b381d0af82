"""Knows how far the log has come, and wakes whoever waits for it: NOTIFY, with a slow poll behind it."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

import asyncpg
import structlog

from eventstore.session import HINDERED, LOST, OpenSession, Session

CHANNEL = "dcf_log"
POLL_SECONDS = 1.0
RECONNECT_SECONDS_FIRST = 0.05
RECONNECT_SECONDS_LONGEST = 2.0

_HEAD = "SELECT log.head($1)"

# By channel, who is told what is said there.
Told = Mapping[str, Callable[[str], None]]


class Notifier:
    """One session a process listens; a notification missed costs at most POLL_SECONDS."""

    def __init__(
        self,
        open_session: OpenSession,
        *,
        interrupted: Callable[[], None],
        also: Told | None = None,
    ) -> None:
        """`interrupted` is told each time the session was lost; `also` what is said on other channels."""
        self._open_session = open_session
        self._also = also or {}
        self._interrupted = interrupted
        self._end = 0
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="log notifier")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    @property
    def end(self) -> int:
        """The last position heard of."""
        return self._end

    def advance(self, position: int) -> None:
        """The log has reached this position."""
        if position <= self._end:
            return
        self._end = position
        while self._waiters and self._waiters[0][0] < position:
            waiter = heapq.heappop(self._waiters)[2]
            if not waiter.done():
                waiter.set_result(None)

    async def wait_beyond(self, position: int, *, seconds_max: float) -> bool:
        """As Log.wait_beyond."""
        if self._end > position:
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (position, next(self._numbers), waiter)
        heapq.heappush(self._waiters, entry)
        try:
            async with asyncio.timeout(seconds_max):
                await waiter
        except TimeoutError:
            return self._end > position
        finally:
            if waiter.cancelled():
                self._forget(entry)
        return True

    def _forget(self, entry: tuple[int, int, asyncio.Future[None]]) -> None:
        with contextlib.suppress(ValueError):
            self._waiters.remove(entry)
            heapq.heapify(self._waiters)

    async def _run(self) -> None:
        pause = RECONNECT_SECONDS_FIRST
        while True:
            try:
                session = await self._open_session()
            except (*LOST, *HINDERED, asyncpg.PostgresError) as error:
                structlog.get_logger().warning("log_unreachable", reason=repr(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, RECONNECT_SECONDS_LONGEST)
                continue
            pause = RECONNECT_SECONDS_FIRST
            try:
                await self._listen(session)
            except (*LOST, *HINDERED) as error:
                structlog.get_logger().warning("log_listener_lost", reason=repr(error))
            finally:
                session.terminate()
                self._interrupted()

    async def _listen(self, session: Session) -> None:
        lost = asyncio.Event()
        session.add_termination_listener(lambda _session: lost.set())
        await session.add_listener(CHANNEL, self._notified)
        for channel in self._also:
            await session.add_listener(channel, self._told)
        while not lost.is_set():
            self.advance(await session.fetchval(_HEAD, self._end))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await lost.wait()

    def _notified(self, _session: object, _pid: int, _channel: str, payload: object) -> None:
        self.advance(int(str(payload)))

    def _told(self, _session: object, _pid: int, channel: str, payload: object) -> None:
        self._also[channel](str(payload))
