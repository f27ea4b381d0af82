"""Hears how far the read models have come and which versions are served: NOTIFY, with a poll behind it."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

import asyncpg
import structlog

from eventstore.session import HINDERED, LOST, OpenSession, Session
from projections import active, commit
from projections.checkpoints import positions
from projections.progress import Progress

# A session that lives misses no notification, and a new one looks at once; the poll is for what nobody thought of.
POLL_SECONDS = 1.0
RECONNECT_SECONDS_FIRST = 0.05
RECONNECT_SECONDS_LONGEST = 2.0


class Listener:
    """One session a process, outside every pool. Use it as a context."""

    def __init__(self, open_session: OpenSession, progress: Progress) -> None:
        self._open_session = open_session
        self._progress = progress
        self._look_again = asyncio.Event()
        self._looked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.active: dict[str, active.Served] = {}

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="projections listener")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def look(self, *, seconds_max: float) -> None:
        """Ask the database again, and wait for its answer, though not for longer."""
        self._looked.clear()
        self._look_again.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds_max):
                await self._looked.wait()

    async def _run(self) -> None:
        pause = RECONNECT_SECONDS_FIRST
        while True:
            try:
                session = await self._open_session()
            except (*LOST, *HINDERED, asyncpg.PostgresError) as error:
                structlog.get_logger().warning("projections_unreachable", reason=repr(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, RECONNECT_SECONDS_LONGEST)
                continue
            pause = RECONNECT_SECONDS_FIRST
            try:
                await self._listen(session)
            except (*LOST, *HINDERED) as error:
                structlog.get_logger().warning("projections_listener_lost", reason=repr(error))
            finally:
                session.terminate()
                # Rows and checkpoints are committed without waiting for the disk.
                self._progress.forget()

    async def _listen(self, session: Session) -> None:
        session.add_termination_listener(lambda _session: self._look_again.set())
        await session.add_listener(commit.CHANNEL, self._moved)
        await session.add_listener(active.CHANNEL, self._activated)
        while not session.is_closed():
            self._look_again.clear()
            served = await active.active_versions(session)
            moved, self.active = served != self.active, served
            self._progress.correct(await positions(session))
            if moved:
                self._progress.interrupt()
            self._looked.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._look_again.wait()

    def _moved(self, _session: object, _pid: int, _channel: str, payload: object) -> None:
        position, *kinds = str(payload).split()
        self._progress.advance(kinds, int(position))

    def _activated(self, _session: object, _pid: int, _channel: str, _payload: object) -> None:
        self._look_again.set()
