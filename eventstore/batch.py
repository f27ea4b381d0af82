"""Several appends in one call: as the arrays the database's function takes, and its verdicts as outcomes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any
from uuid import UUID

import msgspec

from domain.event import Claim, Counter, StreamRef
from eventstore.database import Connection, Queries, Row
from eventstore.log import (
    Append,
    Appended,
    ClaimTaken,
    CounterFull,
    Duplicate,
    Expected,
    NewEvent,
    Outcome,
    Overtaken,
)
from eventstore.tracking import Tracking


class _Verdict(IntEnum):
    """What the functions of migration 0002 answer."""

    RECORDED = 0
    DUPLICATE = 1
    NOT_AS_EXPECTED = 2
    NOT_NEXT = 3
    TAKEN = 4
    FULL = 5


_APPEND_ONE = """
    SELECT verdict, recorded, recorded_at, actual
      FROM log.append_one($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
"""

_APPEND_BATCH = f"""
    SELECT base, recorded_at, verdicts, culprits, actuals, holders
      FROM log.append_batch({", ".join(f"${n}" for n in range(1, 35))})
"""  # noqa: S608 -- numbers of parameters

# One statement, so one transaction: what cannot be tracked takes the append back with it.
_APPEND_TRACKED = f"""
    SELECT a.base, a.recorded_at, a.verdicts, a.culprits, a.actuals, a.holders,
           CASE WHEN a.verdicts[1] = {_Verdict.RECORDED} THEN work.track($35, $36, $37, $38) END
      FROM log.append_batch({", ".join(f"${n}" for n in range(1, 35))}) a
"""  # noqa: S608 -- numbers of parameters, and a verdict

_FIND = """
    SELECT request_hash, outcome, reply, first_position, last_position, at
      FROM log.find($1, $2)
"""


async def send(connection: Connection, appends: Sequence[Append], hint: int) -> list[Outcome]:
    """Settle them in this order and commit, in one round trip; one outcome each.

    `hint` is any position that was the log's last at some time. Whatever the database refuses as a whole
    is raised as asyncpg raises it, and nothing of the batch is recorded.
    """
    if len(appends) == 1 and _is_short(appends[0]):
        return [await _send_one(connection, appends[0], hint)]
    batch = _Batch(appends)
    row = await connection.fetchrow(_APPEND_BATCH, hint, *batch.arguments())
    assert row is not None
    outcomes = batch.outcomes(row)
    return [
        outcome or await _recorded_before(connection, append) for append, outcome in zip(appends, outcomes, strict=True)
    ]


async def send_tracked(connection: Connection, append: Append, tracking: Tracking, hint: int) -> Outcome:
    """As `send` for one append, which is recorded together with how far its consumer has come, or not at all.

    Raises asyncpg.UniqueViolationError when the consumer has come as far already.
    """
    batch = _Batch([append])
    row = await connection.fetchrow(_APPEND_TRACKED, hint, *batch.arguments(), *msgspec.structs.astuple(tracking))
    assert row is not None
    [outcome] = batch.outcomes(row)
    return outcome or await _recorded_before(connection, append)


async def find(database: Queries, tenant_id: UUID, command_id: UUID) -> Duplicate | None:
    """What was recorded under a command id, if anything."""
    row = await database.fetchrow(_FIND, tenant_id, command_id)
    return None if row is None else Duplicate(*row)


def _is_short(append: Append) -> bool:
    """One event, relying on nothing but its own stream."""
    if len(append.events) != 1 or append.claims or append.counters or len(append.expected) > 1:
        return False
    return not append.expected or append.expected[0].stream == append.events[0].stream


async def _send_one(connection: Connection, append: Append, hint: int) -> Outcome:
    event = append.events[0]
    expected = append.expected[0].version if append.expected else None
    row = await connection.fetchrow(
        _APPEND_ONE,
        hint,
        append.tenant_id,
        append.command_id,
        append.request_hash,
        append.outcome,
        append.reply,
        event.stream.tenant_id,
        event.stream.id,
        event.stream.category,
        expected,
        event.version,
        event.type,
        event.schema_version,
        event.meta,
        event.data,
    )
    assert row is not None
    verdict, position, recorded_at, actual = row
    if verdict == _Verdict.RECORDED:
        return Appended(position, position, recorded_at)
    if verdict == _Verdict.DUPLICATE:
        return await _recorded_before(connection, append)
    relied_on = expected if verdict == _Verdict.NOT_AS_EXPECTED and expected is not None else event.version - 1
    return Overtaken(event.stream, relied_on, actual)


async def _recorded_before(connection: Connection, append: Append) -> Duplicate:
    found = await find(connection, append.tenant_id, append.command_id)
    assert found is not None  # It was there a moment ago, and rows leave only long after.
    return found


class _Indexed:
    """Distinct keys, numbered from 1 in the order they were met."""

    def __init__(self) -> None:
        self._index: dict[Any, int] = {}
        self.columns: list[tuple[Any, ...]] = []

    def of(self, key: Any, values: tuple[Any, ...]) -> int:
        index = self._index.get(key)
        if index is None:
            self.columns.append(values)
            index = self._index[key] = len(self.columns)
        return index

    def transposed(self, width: int) -> tuple[list[Any], ...]:
        return tuple([list(column) for column in zip(*self.columns, strict=True)] or [[] for _ in range(width)])


class _Batch:
    def __init__(self, appends: Sequence[Append]) -> None:
        self._appends = appends
        self._streams = _Indexed()
        self._claims = _Indexed()
        self._counters = _Indexed()
        self._expected: list[Expected] = [e for a in appends for e in a.expected]
        self._events: list[NewEvent] = [e for a in appends for e in a.events]
        self._taken: list[Claim] = [c for a in appends for c in a.claims]
        self._counted: list[Counter] = [c for a in appends for c in a.counters]

    def arguments(self) -> Iterable[Any]:
        """What append_batch takes after `hint`, in its order."""
        appends, events, taken, counted = self._appends, self._events, self._taken, self._counted
        relied_on = [self._stream(e.stream) for e in self._expected]
        written = [self._stream(e.stream) for e in events]
        keys = [self._claim(c) for c in taken]
        names = [self._counter(c) for c in counted]
        return (
            *self._streams.transposed(3),
            *self._claims.transposed(3),
            *self._counters.transposed(3),
            [a.tenant_id for a in appends],
            [a.command_id for a in appends],
            self._same_commands(),
            [a.request_hash for a in appends],
            [a.outcome for a in appends],
            [a.reply for a in appends],
            [len(a.expected) for a in appends],
            [len(a.events) for a in appends],
            [len(a.claims) for a in appends],
            [len(a.counters) for a in appends],
            relied_on,
            [e.version for e in self._expected],
            written,
            [e.version for e in events],
            [e.type for e in events],
            [e.schema_version for e in events],
            [e.meta for e in events],
            [e.data for e in events],
            keys,
            [c.holder for c in taken],
            [c.release for c in taken],
            names,
            [c.delta for c in counted],
            [c.limit for c in counted],
        )

    def outcomes(self, row: Row) -> list[Outcome | None]:
        """One an append; None for what was recorded before this batch."""
        base, recorded_at, verdicts, culprits, actuals, holders = row[:6]
        outcomes: list[Outcome | None] = []
        first_of: dict[tuple[int, int], Duplicate] = {}
        for append, verdict, culprit, actual, holder in zip(
            self._appends, verdicts, culprits, actuals, holders, strict=True
        ):
            key = (append.tenant_id.int, append.command_id.int)
            if verdict == _Verdict.RECORDED:
                first = base + 1 if append.events else base
                base += len(append.events)
                first_of[key] = Duplicate(append.request_hash, append.outcome, append.reply, first, base, recorded_at)
                outcomes.append(Appended(first, base, recorded_at))
            elif verdict == _Verdict.DUPLICATE:
                outcomes.append(first_of.get(key))
            else:
                outcomes.append(self._refused(verdict, culprit - 1, actual, holder))
        return outcomes

    def _refused(self, verdict: int, culprit: int, actual: int, holder: UUID) -> Outcome:
        match verdict:
            case _Verdict.NOT_AS_EXPECTED:
                expected = self._expected[culprit]
                return Overtaken(expected.stream, expected.version, actual)
            case _Verdict.NOT_NEXT:
                event = self._events[culprit]
                return Overtaken(event.stream, event.version - 1, actual)
            case _Verdict.TAKEN:
                return ClaimTaken(self._taken[culprit], holder)
            case _Verdict.FULL:
                return CounterFull(self._counted[culprit], actual)
            case _:
                raise AssertionError(f"append_batch answered {verdict}")

    def _stream(self, stream: StreamRef) -> int:
        key = (stream.tenant_id.int, stream.id.int)
        return self._streams.of(key, (stream.tenant_id, stream.id, stream.category))

    def _claim(self, claim: Claim) -> int:
        key = (claim.tenant_id, claim.scope, claim.key)
        return self._claims.of(key, key)

    def _counter(self, counter: Counter) -> int:
        key = (counter.tenant_id, counter.scope, counter.name)
        return self._counters.of(key, key)

    def _same_commands(self) -> list[int]:
        """For each append the number of the first with the same command id."""
        first: dict[tuple[int, int], int] = {}
        return [first.setdefault((a.tenant_id.int, a.command_id.int), n) for n, a in enumerate(self._appends, start=1)]
