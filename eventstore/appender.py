"""Group commit: one task a process writes whatever was queued while its previous batch ran."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import asyncpg
import structlog

from eventstore.batch import send
from eventstore.limits import append_bytes
from eventstore.log import (
    Append,
    Appended,
    AppendRefused,
    Duplicate,
    LogBusy,
    Outcome,
    OutcomeUnknown,
)
from eventstore.session import HINDERED, LOST, OpenSession, Session
from eventstore.waiting import Waiter, Waiting

# How long a batch whose session was lost is tried again before its callers are told that nobody knows.
RESEND_SECONDS_MAX = 10.0
RESEND_SECONDS_FIRST = 0.02
RESEND_SECONDS_LONGEST = 0.5

_Settled = Outcome | AppendRefused | OutcomeUnknown | LogBusy


class Appender:
    """Callers queue, the task writes. Use it as a context: leaving it writes what still waits."""

    def __init__(
        self,
        open_session: OpenSession,
        *,
        advanced: Callable[[int], None],
        resend_seconds_max: float = RESEND_SECONDS_MAX,
    ) -> None:
        """`advanced` is told every position the log is known to have reached."""
        self._resend_seconds_max = resend_seconds_max
        self._open_session = open_session
        self._advanced = advanced
        self._session: Session | None = None
        self._waiting = Waiting()
        self._woken = asyncio.Event()
        self._closing = False
        self._end = 0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="log appender")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._woken.set()
        if self._task is not None:
            await self._task
        await self._drop_session()

    def __len__(self) -> int:
        """How many appends wait."""
        return len(self._waiting)

    async def append(self, append: Append) -> Outcome:
        """As Log.append. A caller that is cancelled before its batch is sent takes its append back."""
        size = append_bytes(append)
        if self._closing:
            raise LogBusy
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.put(Waiter(append, size, outcome))
        self._woken.set()
        return await outcome

    async def _run(self) -> None:
        while not self._closing or self._waiting:
            self._woken.clear()
            while batch := self._waiting.take():
                await self._write(batch)
            if not self._closing:
                await self._woken.wait()

    async def _write(self, batch: Sequence[Waiter]) -> None:
        settled: Sequence[_Settled]
        try:
            settled = await self._settle([waiter.append for waiter in batch])
        except Exception as error:  # noqa: BLE001 -- a fault of ours must neither leave callers waiting nor stop the log
            structlog.get_logger().exception("append_failed", count=len(batch))
            settled = [OutcomeUnknown(repr(error))] * len(batch)
        _tell(batch, settled)

    async def _settle(self, appends: Sequence[Append]) -> Sequence[_Settled]:
        """One outcome or exception an append; what PostgreSQL refuses is found by halving, and fails alone."""
        try:
            return await self._deliver(appends)
        except (asyncpg.PostgresError, ValueError, TypeError, OverflowError) as error:
            if len(appends) == 1:
                return [AppendRefused(str(error))]
        half = len(appends) // 2
        return [*await self._settle(appends[:half]), *await self._settle(appends[half:])]

    async def _deliver(self, appends: Sequence[Append]) -> Sequence[_Settled]:
        """Send until there is an answer. Sending again is safe: what was recorded the first time is found by its id."""
        end_before = self._end
        give_up_at = asyncio.get_running_loop().time() + self._resend_seconds_max
        pause = RESEND_SECONDS_FIRST
        was_sent = False  # At an earlier try, which never got its answer.
        while True:
            sending = False
            reason: Exception
            try:
                session = await self._opened()
                sending = True
                outcomes = await send(session, appends, self._end)
            except LOST as error:
                await self._drop_session()
                was_sent = was_sent or sending
                reason = error
            except HINDERED as error:
                reason = error
            else:
                if was_sent:
                    outcomes = [_made_plain(a, o, end_before) for a, o in zip(appends, outcomes, strict=True)]
                self._advance(outcomes)
                return outcomes
            if asyncio.get_running_loop().time() > give_up_at:
                structlog.get_logger().error("appends_not_delivered", count=len(appends), reason=repr(reason))
                return [OutcomeUnknown(str(reason)) if was_sent else LogBusy()] * len(appends)
            await asyncio.sleep(pause)
            pause = min(pause * 2, RESEND_SECONDS_LONGEST)

    async def _opened(self) -> Session:
        if self._session is None or self._session.is_closed():
            self._session = await self._open_session()
        return self._session

    async def _drop_session(self) -> None:
        if self._session is not None:
            self._session.terminate()
            self._session = None

    def _advance(self, outcomes: Sequence[Outcome]) -> None:
        ends = (o.last_position for o in outcomes if isinstance(o, Appended))
        self._end = max(ends, default=self._end)
        self._advanced(self._end)


def _made_plain(append: Append, outcome: Outcome, end_before: int) -> Outcome:
    """A batch sent twice finds its own first recording: to the caller that is no duplicate."""
    match outcome:
        case Duplicate() if (
            outcome.last_position >= end_before
            and outcome.request_hash == append.request_hash
            and outcome.outcome == append.outcome
            and outcome.reply == append.reply
        ):
            return Appended(outcome.first_position, outcome.last_position, outcome.recorded_at)
        case _:
            return outcome


def _tell(batch: Sequence[Waiter], settled: Sequence[_Settled]) -> None:
    for waiter, result in zip(batch, settled, strict=True):
        if waiter.outcome.done():
            continue  # Its caller was cancelled; the log keeps the truth.
        if isinstance(result, Exception):
            waiter.outcome.set_exception(result)
        else:
            waiter.outcome.set_result(result)
