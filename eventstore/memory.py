"""The log in memory: the same promises as the one in PostgreSQL, under a clock of the caller's."""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from domain.deployment import IN_ACCOUNT
from domain.event import Claim, Counter, StreamRef
from eventstore.folds import Folds
from eventstore.limits import append_bytes
from eventstore.log import (
    NO_STREAM,
    Append,
    Appended,
    ClaimTaken,
    CounterFull,
    Duplicate,
    EpochChanged,
    Expected,
    NewEvent,
    News,
    Outcome,
    Overtaken,
    Since,
    Snapshot,
    StoredEvent,
)
from eventstore.turns import Turns

_BATCH_EVENTS_MAX = 1_000
_ASKED = ("deployment.queued", "deployment.undeploy_requested")
_BEGUN = "deployment.claimed"

StreamKey = tuple[UUID, UUID]
ClaimKey = tuple[UUID, str, str]
CounterKey = tuple[UUID, str, str]
_Refused = Overtaken | ClaimTaken | CounterFull


class MemoryLog:
    """A log that lives as long as its process. Nothing in `append` waits, so appends are serial by themselves."""

    def __init__(self, clock: Callable[[], datetime], *, epoch: int = 1) -> None:
        self.folds = Folds(self)
        self.turns = Turns()
        self._clock = clock
        self._epoch = epoch
        self._events: list[StoredEvent] = []
        self._streams: dict[StreamKey, list[StoredEvent]] = {}
        self._commands: dict[tuple[UUID, UUID], Duplicate] = {}
        self._claims: dict[ClaimKey, UUID] = {}
        self._counters: dict[CounterKey, int] = {}
        self._snapshots: dict[tuple[StreamKey, str], Snapshot] = {}
        self._moved = asyncio.Event()

    async def append(self, append: Append) -> Outcome:
        append_bytes(append)
        if duplicate := self._commands.get((append.tenant_id, append.command_id)):
            return duplicate
        draft = _Draft(self._streams, self._claims, self._counters)
        if refused := draft.settle(append):
            return refused
        draft.commit()
        return self._record(append)

    async def counted(self, tenant_id: UUID) -> dict[tuple[str, str], int]:
        return {(scope, name): value for (of, scope, name), value in self._counters.items() if of == tenant_id}

    async def recount_in_accounts(self, tenant_id: UUID) -> int:
        holders = [holder for (of, scope, _), holder in self._claims.items() if (of, scope) == (tenant_id, "slot")]
        so = Tally(_account_of(self._streams[tenant_id, holder]) for holder in holders)
        wrong = {
            key: so[key[2]]
            for key, value in self._counters.items()
            if key[:2] == (tenant_id, IN_ACCOUNT) and value != so[key[2]]
        }
        self._counters.update(wrong)
        return len(wrong)

    async def find(self, tenant_id: UUID, command_id: UUID) -> Duplicate | None:
        return self._commands.get((tenant_id, command_id))

    async def load(self, streams: Sequence[StreamRef], *, after: int = NO_STREAM) -> list[list[StoredEvent]]:
        return [_beyond(self._streams.get((s.tenant_id, s.id), ()), after) for s in streams]

    async def load_since(self, known: Sequence[Since], *, epoch: int, worth: int) -> list[News]:
        if epoch != self._epoch:
            raise EpochChanged(self._epoch)
        return [self._news(since, worth) for since in known]

    async def keep_snapshot(self, snapshot: Snapshot, *, epoch: int) -> None:
        stream = snapshot.stream
        key = ((stream.tenant_id, stream.id), snapshot.code)
        before = self._snapshots.get(key)
        if epoch == self._epoch and (before is None or before.version < snapshot.version):
            self._snapshots[key] = snapshot

    async def read(self, after: int, *, limit: int) -> list[StoredEvent]:
        return self._events[max(after, 0) : max(after, 0) + limit]

    async def skim(self, after: int, *, limit: int, without: Sequence[str]) -> list[StoredEvent]:
        events = await self.read(after, limit=limit)
        return [event for event in events if event.type not in without or event is events[-1]]

    async def head(self) -> int:
        return len(self._events)

    async def epoch(self) -> int:
        return self._epoch

    async def subscribe(self, after: int) -> AsyncIterator[list[StoredEvent]]:
        while True:
            while batch := await self.read(after, limit=_BATCH_EVENTS_MAX):
                yield batch
                after = batch[-1].position
            await self._moved.wait()

    async def wait_beyond(self, position: int, *, seconds_max: float) -> bool:
        try:
            async with asyncio.timeout(seconds_max):
                while len(self._events) <= position:
                    await self._moved.wait()
        except TimeoutError:
            return False
        return True

    def _news(self, since: Since, worth: int) -> News:
        key = (since.stream.tenant_id, since.stream.id)
        snapshot = self._snapshots.get((key, since.code)) if since.code else None
        if snapshot is not None and snapshot.version < since.version + worth:
            snapshot = None
        after = since.version if snapshot is None else snapshot.version
        return News(_beyond(self._streams.get(key, ()), after), snapshot)

    def _record(self, append: Append) -> Appended:
        end = len(self._events)
        recorded_at = max(self._clock(), self._events[-1].recorded_at) if self._events else self._clock()
        for event in append.events:
            self._store(event, recorded_at)
        first, last = (end + 1, len(self._events)) if append.events else (end, end)
        self._commands[append.tenant_id, append.command_id] = Duplicate(
            append.request_hash, append.outcome, append.reply, first, last, recorded_at
        )
        if append.events:
            self._moved.set()
            self._moved = asyncio.Event()
        return Appended(first, last, recorded_at)

    def _store(self, event: NewEvent, recorded_at: datetime) -> None:
        stream = event.stream
        stored = StoredEvent(
            position=len(self._events) + 1,
            tenant_id=stream.tenant_id,
            stream_id=stream.id,
            version=event.version,
            type=event.type,
            schema_version=event.schema_version,
            recorded_at=recorded_at,
            meta=event.meta,
            data=event.data,
        )
        self._events.append(stored)
        self._streams.setdefault((stream.tenant_id, stream.id), []).append(stored)


class _Draft:
    """What the claims and counters would be, should every condition of one append hold."""

    def __init__(
        self,
        streams: dict[StreamKey, list[StoredEvent]],
        claims: dict[ClaimKey, UUID],
        counters: dict[CounterKey, int],
    ) -> None:
        self._streams = streams
        self._claims = claims
        self._counters = counters
        self._new_versions: dict[StreamKey, int] = {}
        self._new_holders: dict[ClaimKey, UUID | None] = {}
        self._new_values: dict[CounterKey, int] = {}

    def settle(self, append: Append) -> _Refused | None:
        """The first condition that does not hold, in the order PostgreSQL checks them; None when all do."""
        return (
            _first(self._relies_on(e) for e in append.expected)
            or _first(self._follows(e) for e in append.events)
            or _first(self._claim(c) for c in append.claims)
            or _first(self._count(c) for c in append.counters)
        )

    def commit(self) -> None:
        self._counters.update(self._new_values)
        for key, holder in self._new_holders.items():
            if holder is None:
                self._claims.pop(key, None)
            else:
                self._claims[key] = holder

    def _version(self, stream: StreamRef) -> int | None:
        key = (stream.tenant_id, stream.id)
        if key in self._new_versions:
            return self._new_versions[key]
        events = self._streams.get(key)
        return events[-1].version if events else None

    def _relies_on(self, expected: Expected) -> Overtaken | None:
        actual = self._version(expected.stream) or NO_STREAM
        return None if actual == expected.version else Overtaken(expected.stream, expected.version, actual)

    def _follows(self, event: NewEvent) -> Overtaken | None:
        """A stream begins with version 0 or 1 and has no gaps."""
        version = self._version(event.stream)
        if event.version not in ((0, 1) if version is None else (version + 1,)):
            return Overtaken(event.stream, event.version - 1, version or NO_STREAM)
        self._new_versions[event.stream.tenant_id, event.stream.id] = event.version
        return None

    def _claim(self, claim: Claim) -> ClaimTaken | None:
        key = (claim.tenant_id, claim.scope, claim.key)
        holder = self._new_holders[key] if key in self._new_holders else self._claims.get(key)
        if claim.release:
            if holder == claim.holder:
                self._new_holders[key] = None
        elif holder is None:
            self._new_holders[key] = claim.holder
        elif holder != claim.holder:
            return ClaimTaken(claim, holder)
        return None

    def _count(self, counter: Counter) -> CounterFull | None:
        key = (counter.tenant_id, counter.scope, counter.name)
        value = self._new_values.get(key, self._counters.get(key, 0))
        if counter.delta > 0 and counter.limit is not None and value + counter.delta > counter.limit:
            return CounterFull(counter, value)
        self._new_values[key] = value + counter.delta
        return None


def _first(refusals: Iterable[_Refused | None]) -> _Refused | None:
    return next((refused for refused in refusals if refused is not None), None)


def _account_of(events: Sequence[StoredEvent]) -> str:
    """In which account the deployment is counted since it was last begun; empty when whoever began it knew of none."""
    asked = max(event.version for event in events if event.type in _ASKED)
    begun = next((event for event in events if event.type == _BEGUN and event.version > asked), None)
    return str(msgspec.json.decode(begun.data).get("account", "")) if begun else ""


def _beyond(events: Sequence[StoredEvent], after: int) -> list[StoredEvent]:
    return [event for event in events if event.version > after]
