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
# So many streams a process has a turn at, or waits for one at, beside each other: each takes a session. One more goes without.
STREAMS_MAX = 4
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


class _Turn:
    """One stream's, and the session that has it or waits for it."""

    __slots__ = ("session", "since")

    def __init__(self, session: Session | None) -> None:
        self.session = session
        self.since = 0.0


class Rivals:
    """Sessions are opened when they are first needed, one for each stream that is fought over at the time.

    Whoever has a turn waits only for streams that stand behind it in the order of all streams (`Turns.at`), in every process, so
    none wait in a circle. A turn only spares others being overtaken. Without one, because its session was lost or there are too
    many, an append is as safe as ever.
    """

    def __init__(self, open_session: OpenSession) -> None:
        self._open_session = open_session
        self._idle: list[Session] = []
        self._turns: dict[int, _Turn] = {}
        self._fought_over: dict[int, float] = {}
        self._untold: set[int] = set()

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
        if number in self._turns or len(self._turns) >= STREAMS_MAX or not self.are_at(stream):
            return False
        turn = self._turns[number] = _Turn(self._idle.pop() if self._idle else None)
        try:
            await self._wait_for(number, turn)
        except (*LOST, *HINDERED, asyncpg.PostgresError) as error:
            structlog.get_logger().warning("turn_not_taken", reason=repr(error))
            self._drop(number)
            return False
        except BaseException:
            self._drop(number)
            raise
        turn.since = _now()
        return True

    async def leave(self, stream: StreamRef, *, waited_for: bool) -> None:
        """Give the turn back, if it was taken and nobody here waits for it, or has for too long."""
        number = _number(stream)
        turn = self._turns.get(number)
        if turn is None or turn.session is None or (waited_for and _now() - turn.since < KEPT_SECONDS_MAX):
            return
        try:
            await turn.session.execute(_GIVE_BACK)
        except (*LOST, *HINDERED, asyncpg.PostgresError) as error:
            structlog.get_logger().warning("turn_lost", reason=repr(error))
            self._drop(number)
        except BaseException:
            self._drop(number)
            raise
        else:
            self._turns.pop(number, None)
            self._idle.append(turn.session)

    def close(self) -> None:
        """Drop the sessions, and with them what they have taken."""
        for number in [*self._turns]:
            self._drop(number)
        while self._idle:
            _end(self._idle.pop())

    def _remember(self, number: int) -> None:
        now = _now()
        if len(self._fought_over) >= REMEMBERED_MAX:
            self._fought_over = {other: until for other, until in self._fought_over.items() if until > now}
            self._untold &= self._fought_over.keys()
        self._fought_over[number] = now + RIVALRY_SECONDS

    async def _wait_for(self, number: int, turn: _Turn) -> None:
        if turn.session is None or turn.session.is_closed():
            turn.session = await self._open_session()
        if number in self._untold:
            self._untold.discard(number)
            await turn.session.execute(_TELL, str(number))
        await turn.session.execute(_TAKE.format(wait=WAIT_MS_MAX, idle=IDLE_MS_MAX, number=number))

    def _drop(self, number: int) -> None:
        turn = self._turns.pop(number, None)
        if turn is not None and turn.session is not None:
            _end(turn.session)


def _end(session: Session) -> None:
    with suppress(*LOST):
        session.terminate()


def _number(stream: StreamRef) -> int:
    """The stream's lock. Two that share one wait for each other without need, and no more."""
    return int.from_bytes(stream.id.bytes[-4:], "big", signed=True)


def _now() -> float:
    return asyncio.get_running_loop().time()
