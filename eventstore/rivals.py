"""Streams that several processes write at once: the processes take turns in the database, first come, first served."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import asyncpg
import structlog

from domain.event import StreamRef
from eventstore.session import HINDERED, LOST, OpenSession, Session

CHANNEL = "dcf_rivals"
# How long a stream counts as fought over since somebody said so.
RIVALRY_SECONDS = 5.0
# So many streams are looked through for those that are fought over no more.
REMEMBERED_MAX = 1_000
# How long a process keeps a turn for all who wait in it; then others have theirs.
KEPT_SECONDS_MAX = 0.1
# Whoever waits longer for the others, or decides for longer, goes without: the log arbitrates all the same.
WAIT_MS_MAX = 4_000
IDLE_MS_MAX = 2_000

_TELL = f"SELECT pg_notify('{CHANNEL}', $1)"
_TAKE = """
    BEGIN;
    SET LOCAL lock_timeout = {wait};
    SET LOCAL idle_in_transaction_session_timeout = {idle};
    SELECT pg_advisory_xact_lock(4920, {number});
"""
_GIVE_BACK = "COMMIT"


class Rivals:
    """One session a process, opened when it is first needed, and one stream at a time: no two can wait in a circle.

    A turn only spares others being overtaken. Without one, because the session was lost or has another stream, an append is
    as safe as ever.
    """

    def __init__(self, open_session: OpenSession) -> None:
        self._open_session = open_session
        self._session: Session | None = None
        self._fought_over: dict[int, float] = {}
        self._untold: set[int] = set()
        self._taken: int | None = None
        self._taken_at = 0.0

    def met(self, stream: StreamRef) -> None:
        """Another process was quicker there, while this one went by what was newest."""
        number = _number(stream)
        if self._fought_over.get(number, 0.0) - _now() < RIVALRY_SECONDS / 2:
            self._untold.add(number)
        self._remember(number)

    def heard(self, number: str) -> None:
        """Some process has met another there; whoever always wins would never know by itself."""
        self._remember(int(number))

    def are_at(self, stream: StreamRef) -> bool:
        """Whether the stream is fought over."""
        if not self._fought_over:
            return False
        number = _number(stream)
        until = self._fought_over.get(number)
        if until is None or until > _now():
            return until is not None
        del self._fought_over[number]
        self._untold.discard(number)
        return False

    async def take(self, stream: StreamRef) -> bool:
        """Wait for this process's turn, should the stream be fought over. Whether it is new: others may have written."""
        number = _number(stream)
        if self._taken is not None or not self.are_at(stream):
            return False
        self._taken = number
        try:
            await self._wait_for(number)
        except (*LOST, *HINDERED, asyncpg.PostgresError) as error:
            structlog.get_logger().warning("turn_not_taken", reason=repr(error))
            self._drop()
            return False
        except BaseException:
            self._drop()
            raise
        self._taken_at = _now()
        return True

    async def leave(self, stream: StreamRef, *, waited_for: bool) -> None:
        """Give the turn back, if it was taken and nobody here waits for it, or has for too long."""
        if self._taken != _number(stream) or (waited_for and _now() - self._taken_at < KEPT_SECONDS_MAX):
            return
        session = self._session
        try:
            if session is not None:
                await session.execute(_GIVE_BACK)
            self._taken = None
        except (*LOST, *HINDERED, asyncpg.PostgresError) as error:
            structlog.get_logger().warning("turn_lost", reason=repr(error))
            self._drop()
        except BaseException:
            self._drop()
            raise

    def close(self) -> None:
        """Drop the session, and with it what it has taken."""
        self._drop()

    def _remember(self, number: int) -> None:
        now = _now()
        if len(self._fought_over) >= REMEMBERED_MAX:
            self._fought_over = {other: until for other, until in self._fought_over.items() if until > now}
            self._untold &= self._fought_over.keys()
        self._fought_over[number] = now + RIVALRY_SECONDS

    async def _wait_for(self, number: int) -> None:
        if self._session is None or self._session.is_closed():
            self._session = await self._open_session()
        if number in self._untold:
            self._untold.discard(number)
            await self._session.execute(_TELL, str(number))
        await self._session.execute(_TAKE.format(wait=WAIT_MS_MAX, idle=IDLE_MS_MAX, number=number))

    def _drop(self) -> None:
        session, self._session, self._taken = self._session, None, None
        if session is not None:
            with suppress(*LOST):
                session.terminate()


def _number(stream: StreamRef) -> int:
    """The stream's lock. Two that share one wait for each other without need, and no more."""
    return int.from_bytes(stream.id.bytes[-4:], "big", signed=True)


def _now() -> float:
    return asyncio.get_running_loop().time()
