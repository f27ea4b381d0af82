"""Several appends in one call: as the arrays the database's function takes, and its verdicts as outcomes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from enum import IntEnum
from typing import Any
from uuid import UUID

import msgspec

from domain.event import Claim, Counter, StreamRef
from eventstore.columns import Contents, flags, numbers, parameters, uuids
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
from eventstore.undisputed import Disputed, send_undisputed


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

# What append_batch takes, in its order; arrays go as text.
_TYPES = (
    *("bigint", "uuid[]", "text[]", "bytea"),
    *("integer[]", "uuid[]", "integer[]"),
    *("integer[]", "integer[]", "text[]"),
    *("integer[]", "integer[]", "integer[]"),
    *("integer[]", "uuid[]", "integer[]", "integer[]", "integer[]", "integer[]", "integer[]"),
    *("integer[]", "integer[]", "integer[]", "integer[]"),
    *("integer[]", "integer[]"),
    *("integer[]", "integer[]", "integer[]", "integer[]", "integer[]", "integer[]", "integer[]"),
    *("integer[]", "uuid[]", "boolean[]"),
    *("integer[]", "bigint[]", "bigint[]"),
)
_APPEND_BATCH = f"""
    SELECT base, recorded_at, refused, verdicts, culprits, actuals, holders
      FROM log.append_batch({parameters(_TYPES)})
"""  # noqa: S608 -- numbers of parameters

# One statement, so one transaction: what cannot be tracked takes the append back with it.
_TRACKING = ", ".join(f"${len(_TYPES) + n}" for n in range(1, 5))
_APPEND_TRACKED = f"""
    SELECT a.base, a.recorded_at, a.refused, a.verdicts, a.culprits, a.actuals, a.holders,
           CASE WHEN a.refused IS NULL THEN work.track({_TRACKING}) END
      FROM log.append_batch({parameters(_TYPES)}) a
"""  # noqa: S608 -- numbers of parameters

_FIND = """
    SELECT request_hash, outcome, reply, first_position, last_position, at
      FROM log.find($1, $2)
"""


async def send(connection: Connection, appends: Sequence[Append], hint: int) -> list[Outcome]:
    """Settle them in this order and commit; one outcome each.

    In one round trip when none has to be refused and none is in another's way, in two otherwise.

    `hint` is any position that was the log's last at some time. Whatever the database refuses as a whole
    is raised as asyncpg raises it, and nothing of the batch is recorded.
    """
    if len(appends) == 1 and _is_short(appends[0]):
        return [await _send_one(connection, appends[0], hint)]
    try:
        return list(await send_undisputed(connection, appends, hint))
    except Disputed:
        return await _send_disputed(connection, appends, hint)


async def _send_disputed(connection: Connection, appends: Sequence[Append], hint: int) -> list[Outcome]:
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


class _Batch:
    def __init__(self, appends: Sequence[Append]) -> None:
        self._appends = appends
        self._expected: list[Expected] = [e for a in appends for e in a.expected]
        self._events: list[NewEvent] = [e for a in appends for e in a.events]
        self._taken: list[Claim] = [c for a in appends for c in a.claims]
        self._counted: list[Counter] = [c for a in appends for c in a.counters]
        # What is distinct, each with its number, from 1 in the order they were met.
        self._tenants: dict[int, int] = {}
        self._words: dict[str, int] = {}
        self._streams: dict[tuple[int, int], int] = {}
        self._categories: list[int] = []
        self._claims: dict[tuple[int, int, str], int] = {}
        self._counters: dict[tuple[int, int, int], int] = {}
        self._contents = Contents()

    def arguments(self) -> Iterable[Any]:
        """What append_batch takes after `hint`, in its order."""
        relied_on = [self._stream(e.stream) for e in self._expected]
        events = self._event_columns()
        claims = self._claim_columns()
        counters = self._counter_columns()
        appends = self._append_columns()
        return (
            uuids(self._tenants),
            list(self._words),
            self._contents.joined(),
            numbers([tenant for tenant, _ in self._streams]),
            uuids([id for _, id in self._streams]),
            numbers(self._categories),
            numbers([tenant for tenant, _, _ in self._claims]),
            numbers([scope for _, scope, _ in self._claims]),
            [key for _, _, key in self._claims],
            numbers([tenant for tenant, _, _ in self._counters]),
            numbers([scope for _, scope, _ in self._counters]),
            numbers([name for _, _, name in self._counters]),
            *appends,
            numbers(relied_on),
            numbers([e.version for e in self._expected]),
            *events,
            *claims,
            *counters,
        )

    def outcomes(self, row: Row) -> list[Outcome | None]:
        """One an append; None for what was recorded before this batch."""
        base, recorded_at, refused, *refusals = row
        if refused is None:
            return list(_recorded(self._appends, base, recorded_at))
        return self._settled(base, recorded_at, dict(zip(refused, zip(*refusals[:4], strict=True), strict=True)))

    def _settled(self, base: int, recorded_at: datetime, refused: dict[int, tuple[Any, ...]]) -> list[Outcome | None]:
        outcomes: list[Outcome | None] = []
        recorded = _recorded((a for n, a in enumerate(self._appends, start=1) if n not in refused), base, recorded_at)
        first_of: dict[tuple[UUID, UUID], Duplicate] = {}
        for n, append in enumerate(self._appends, start=1):
            key = (append.tenant_id, append.command_id)
            if n not in refused:
                appended = next(recorded)
                first_of[key] = _as_duplicate(append, appended)
                outcomes.append(appended)
            elif refused[n][0] == _Verdict.DUPLICATE:
                outcomes.append(first_of.get(key))
            else:
                outcomes.append(self._refused(*refused[n]))
        return outcomes

    def _refused(self, verdict: int, culprit: int, actual: int, holder: UUID) -> Outcome:
        match verdict:
            case _Verdict.NOT_AS_EXPECTED:
                expected = self._expected[culprit - 1]
                return Overtaken(expected.stream, expected.version, actual)
            case _Verdict.NOT_NEXT:
                event = self._events[culprit - 1]
                return Overtaken(event.stream, event.version - 1, actual)
            case _Verdict.TAKEN:
                return ClaimTaken(self._taken[culprit - 1], holder)
            case _Verdict.FULL:
                return CounterFull(self._counted[culprit - 1], actual)
            case _:
                raise AssertionError(f"append_batch answered {verdict}")

    def _append_columns(self) -> Iterable[str]:
        appends, put = self._appends, self._contents.put
        return (
            numbers([self._tenant(a.tenant_id) for a in appends]),
            uuids([a.command_id.int for a in appends]),
            numbers(self._same_commands()),
            numbers([self._word(a.outcome) for a in appends]),
            numbers([put(a.request_hash, a.reply) for a in appends]),
            numbers([len(a.request_hash) for a in appends]),
            numbers([len(a.reply) for a in appends]),
            numbers([len(a.expected) for a in appends]),
            numbers([len(a.events) for a in appends]),
            numbers([len(a.claims) for a in appends]),
            numbers([len(a.counters) for a in appends]),
        )

    def _event_columns(self) -> Iterable[str]:
        events, put = self._events, self._contents.put
        return (
            numbers([self._stream(e.stream) for e in events]),
            numbers([e.version for e in events]),
            numbers([self._word(e.type) for e in events]),
            numbers([e.schema_version for e in events]),
            numbers([put(e.meta, e.data) for e in events]),
            numbers([len(e.meta) for e in events]),
            numbers([len(e.data) for e in events]),
        )

    def _claim_columns(self) -> Iterable[str]:
        taken = self._taken
        return (
            numbers([self._claim(c) for c in taken]),
            uuids([c.holder.int for c in taken]),
            flags([c.release for c in taken]),
        )

    def _counter_columns(self) -> Iterable[str]:
        counted = self._counted
        return (
            numbers([self._counter(c) for c in counted]),
            numbers([c.delta for c in counted]),
            numbers([c.limit for c in counted]),
        )

    def _tenant(self, tenant_id: UUID) -> int:
        return self._tenants.setdefault(tenant_id.int, len(self._tenants) + 1)

    def _word(self, word: str) -> int:
        return self._words.setdefault(word, len(self._words) + 1)

    def _stream(self, stream: StreamRef) -> int:
        key = (self._tenant(stream.tenant_id), stream.id.int)
        number = self._streams.get(key)
        if number is None:
            self._categories.append(self._word(stream.category))
            number = self._streams[key] = len(self._categories)
        return number

    def _claim(self, claim: Claim) -> int:
        key = (self._tenant(claim.tenant_id), self._word(claim.scope), claim.key)
        return self._claims.setdefault(key, len(self._claims) + 1)

    def _counter(self, counter: Counter) -> int:
        key = (self._tenant(counter.tenant_id), self._word(counter.scope), self._word(counter.name))
        return self._counters.setdefault(key, len(self._counters) + 1)

    def _same_commands(self) -> Sequence[int]:
        """For each append the number of the first with the same command id."""
        first: dict[tuple[int, int], int] = {}
        return [first.setdefault((a.tenant_id.int, a.command_id.int), n) for n, a in enumerate(self._appends, start=1)]


def _recorded(appends: Iterable[Append], base: int, recorded_at: datetime) -> Iterator[Appended]:
    for append in appends:
        if append.events:
            yield Appended(base + 1, base := base + len(append.events), recorded_at)
        else:
            yield Appended(base, base, recorded_at)


def _as_duplicate(append: Append, appended: Appended) -> Duplicate:
    return Duplicate(
        append.request_hash,
        append.outcome,
        append.reply,
        appended.first_position,
        appended.last_position,
        appended.recorded_at,
    )
