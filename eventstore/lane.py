"""One session of the log's own that settles batches, one after another, whatever happens to the session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import asyncpg
import structlog

from eventstore.batch import send
from eventstore.log import (
    Append,
    Appended,
    AppendRefused,
    DiskFull,
    Duplicate,
    LogBusy,
    Outcome,
    OutcomeUnknown,
    StoreUnavailable,
)
from eventstore.session import HINDERED, LOST, OpenSession, Session

RESEND_SECONDS_FIRST = 0.02
RESEND_SECONDS_LONGEST = 0.5

Settled = Outcome | AppendRefused | OutcomeUnknown | LogBusy | DiskFull | StoreUnavailable


# What PostgreSQL says of the values it was given; all else it says is about the schema, or itself.
_ABOUT_VALUES = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)


class Lane:
    """`advanced` is told every position the log is known to have reached; `end` says which it was told last."""

    def __init__(
        self,
        open_session: OpenSession,
        *,
        advanced: Callable[[int], None],
        end: Callable[[], int],
        resend_seconds_max: float,
    ) -> None:
        self._open_session = open_session
        self._advanced, self._end = advanced, end
        self._resend_seconds_max = resend_seconds_max
        self._session: Session | None = None

    async def settle(self, appends: Sequence[Append]) -> Sequence[Settled]:
        """One outcome or exception an append; what PostgreSQL refuses is found by halving, and fails alone."""
        try:
            return await self._deliver(appends)
        except (asyncpg.PostgresError, ValueError, TypeError, OverflowError, AttributeError) as error:
            if len(appends) == 1:
                return [_refusal(error)]
        half = len(appends) // 2
        return [*await self.settle(appends[:half]), *await self.settle(appends[half:])]

    def close(self) -> None:
        """Drop the session; what it was doing may have happened."""
        if self._session is not None:
            self._session.terminate()
            self._session = None

    async def _deliver(self, appends: Sequence[Append]) -> Sequence[Settled]:
        """Send until there is an answer. Sending again is safe: what was recorded the first time is found by its id."""
        end_before = self._end()
        give_up_at = asyncio.get_running_loop().time() + self._resend_seconds_max
        pause = RESEND_SECONDS_FIRST
        was_sent = False  # At an earlier try, which never got its answer.
        while True:
            sending = False
            reason: Exception
            try:
                session = await self._opened()
                sending = True
                outcomes = await send(session, appends, self._end())
            except LOST as error:
                self.close()
                was_sent = was_sent or sending
                reason = error
            except HINDERED as error:
                reason = error
            else:
                if was_sent:
                    outcomes = [_made_plain(a, o, end_before) for a, o in zip(appends, outcomes, strict=True)]
                # Positions rise from one append to the next.
                self._advanced(next((o.last_position for o in reversed(outcomes) if isinstance(o, Appended)), 0))
                return outcomes
            if asyncio.get_running_loop().time() > give_up_at:
                structlog.get_logger().error("appends_not_delivered", count=len(appends), reason=repr(reason))
                return [OutcomeUnknown(str(reason)) if was_sent else _hindrance(reason)] * len(appends)
            await asyncio.sleep(pause)
            pause = min(pause * 2, RESEND_SECONDS_LONGEST)

    async def _opened(self) -> Session:
        if self._session is None or self._session.is_closed():
            self._session = await self._open_session()
        return self._session


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


def _hindrance(reason: Exception) -> LogBusy | DiskFull | StoreUnavailable:
    """Why nothing of it happened, for whoever asked."""
    match reason:
        case asyncpg.DiskFullError():
            return DiskFull()
        case asyncpg.TooManyConnectionsError() | asyncpg.ReadOnlySQLTransactionError():
            return StoreUnavailable()
        case _ if isinstance(reason, LOST):
            return StoreUnavailable()
        case _:
            return LogBusy()


def _refusal(error: Exception) -> AppendRefused | OutcomeUnknown:
    """Whose fault it is that an append failed alone. The words, which are of our own query, are for our log."""
    if isinstance(error, asyncpg.PostgresError) and not isinstance(error, _ABOUT_VALUES):
        structlog.get_logger().error("append_failed", exc_info=error)
        return OutcomeUnknown(repr(error))
    structlog.get_logger().warning("append_refused", problem=str(error))
    return AppendRefused("It holds something that cannot be stored.")
