"""Whether anybody waits for the read models: said by those who wait, so that else events may be gathered into larger batches."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable

import asyncpg
import structlog

from eventstore.database import Database
from eventstore.session import HINDERED, LOST

CHANNEL = "dcf_awaited"
# Said no more often than this, and believed for longer, so that who goes on waiting is not taken to have left.
SAID_APART_SECONDS = 0.2
BELIEVED_SECONDS = 0.6

_SAY = f"SELECT pg_notify('{CHANNEL}', '')"


class Awaited:
    """What the engine has heard of those who wait. Nobody is lost when it hears nothing: they wait a little longer."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._heard = -math.inf

    def heard(self, _payload: str = "") -> None:
        """Somebody waits."""
        self._heard = self._monotonic()

    def lately(self) -> bool:
        """Whether somebody said so a moment ago."""
        return self._monotonic() - self._heard <= BELIEVED_SECONDS


class Saying:
    """Tells the engine, wherever it runs, that somebody waits here."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._due = -math.inf
        self._task: asyncio.Task[None] | None = None

    def somebody_waits(self, now: float) -> None:
        """Say so, unless it was said a moment ago. Nobody is kept waiting by that."""
        if now < self._due or (self._task is not None and not self._task.done()):
            return
        self._due = now + SAID_APART_SECONDS
        self._task = asyncio.create_task(self._say(), name="projections awaited")

    async def close(self) -> None:
        """Say nothing more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _say(self) -> None:
        try:
            await self._database.fetchval(_SAY)
        except (asyncpg.PostgresError, *LOST, *HINDERED) as error:
            structlog.get_logger().debug("awaited_not_said", reason=repr(error))
