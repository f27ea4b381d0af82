"""A batch whose appends are not in each other's way, summed up: what it asks of the log, and what it adds, as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, TypeVar

from domain.event import Claim, Counter, StreamRef
from eventstore.columns import numbers, parameters, uuids
from eventstore.database import Connection
from eventstore.log import NO_STREAM, Append, Appended, NewEvent

K = TypeVar("K")

# What append_undisputed takes, in its order; arrays go as text.
_TYPES = (
    *("bigint", "uuid[]", "text[]", "bytea", "integer[]"),
    *("integer[]", "uuid[]", "integer[]", "integer[]"),
    *("integer[]", "integer[]", "integer[]", "integer[]"),
    *("integer", "integer"),
    *("integer[]", "uuid[]", "integer[]", "integer[]", "integer[]", "integer[]"),
    *("integer[]", "integer[]", "text[]", "uuid[]"),
    *("integer[]", "integer[]", "text[]", "uuid[]"),
    *("integer[]", "integer[]", "integer[]", "bigint[]", "bigint[]"),
)
_APPEND = f"""
    SELECT base, recorded_at
      FROM log.append_undisputed({parameters(_TYPES)})
"""  # noqa: S608 -- numbers of parameters

_FIRST_VERSIONS = (0, 1)


class Disputed(Exception):
    """One of the appends cannot be recorded, or is in another's way: they have to be settled one by one."""


class _Stream:
    """One stream of the batch: where it has to stand before, where it stands after what was added so far."""

    __slots__ = ("category", "first", "id", "last", "number", "tenant", "version", "was")

    def __init__(self, tenant: int, id: int, category: int, was: int) -> None:
        self.tenant = tenant
        self.id = id
        self.category = category
        self.was = was
        # NO_STREAM as long as it has none; a first event may then be version 0 or 1.
        self.version = was
        self.first = self.last = self.number = 0


class _Counter:
    """One counter of the batch: by how much it moves, and where it may stand before for every step to be allowed."""

    __slots__ = ("delta", "room")

    def __init__(self) -> None:
        self.delta = 0
        self.room: int | None = None

    def move(self, counter: Counter) -> None:
        if counter.delta > 0 and counter.limit is not None:
            room = counter.limit - counter.delta - self.delta
            self.room = room if self.room is None else min(room, self.room)
        self.delta += counter.delta


async def send_undisputed(connection: Connection, appends: Sequence[Append], hint: int) -> list[Appended]:
    """Record all of them in this order and commit, in one round trip.

    Raises Disputed when that cannot be; nothing of the batch is recorded then, or when asyncpg raises.
    """
    row = await connection.fetchrow(_APPEND, hint, *_Sum(appends).arguments())
    assert row is not None
    base, recorded_at = row
    if base is None:
        raise Disputed
    outcomes = []
    for append in appends:
        last = base + len(append.events)
        outcomes.append(Appended(base + 1 if append.events else base, last, recorded_at))
        base = last
    return outcomes


class _Numbers(dict[K, int]):
    """What is distinct, each with its number, from 1 in the order it was met."""

    __slots__ = ()

    def __missing__(self, key: K) -> int:
        number = self[key] = len(self) + 1
        return number


class _Sum:
    def __init__(self, appends: Sequence[Append]) -> None:
        """Raises Disputed when they are in each other's way."""
        self._appends = appends
        self._events: list[NewEvent] = []
        self._tenants: _Numbers[int] = _Numbers()
        self._words: _Numbers[str] = _Numbers()
        self._askers: list[int] = []
        self._commands: list[int] = []
        self._streams: dict[tuple[int, int], _Stream] = {}
        # The one that was met last: what relies on a stream mostly writes it too.
        self._ref: StreamRef | None = None
        self._met: _Stream
        self._event_streams: list[_Stream] = []
        self._claims: dict[tuple[int, int, str], Claim] = {}
        self._counters: dict[tuple[int, int, int], _Counter] = {}
        self._ends: list[int] = []
        for append in appends:
            self._add(append)
        if len(set(zip(self._askers, self._commands, strict=True))) < len(appends):
            raise Disputed

    def arguments(self) -> Iterable[Any]:
        """What append_undisputed takes after `hint`, in its order."""
        begun, moved, still = self._ordered_streams()
        streams = begun + moved + still
        for number, stream in enumerate(streams, start=1):
            stream.number = number
        appends, events = self._appends, self._events
        contents = [part for a in appends for part in (a.request_hash, a.reply)]
        contents += [part for e in events for part in (e.meta, e.data)]
        words, counters = self._words, self._counters
        types = [words[e.type] for e in events]
        outcomes = [words[a.outcome] for a in appends]
        taken = [(key, c.holder.int) for key, c in self._claims.items() if not c.release]
        given_back = [(key, c.holder.int) for key, c in self._claims.items() if c.release]
        return (
            uuids(self._tenants),
            list(words),
            b"".join(contents),
            numbers(list(accumulate(map(len, contents), initial=1))),
            numbers(self._askers),
            uuids(self._commands),
            numbers(outcomes),
            numbers(self._ends),
            numbers([s.number for s in self._event_streams]),
            numbers([e.version for e in events]),
            numbers(types),
            numbers([e.schema_version for e in events]),
            len(begun),
            len(moved),
            numbers([s.tenant for s in streams]),
            uuids([s.id for s in streams]),
            numbers([s.category for s in streams]),
            numbers([s.was for s in streams]),
            numbers([s.first for s in streams]),
            numbers([s.last for s in streams]),
            *_claim_columns(taken),
            *_claim_columns(given_back),
            numbers([tenant for tenant, _, _ in counters]),
            numbers([scope for _, scope, _ in counters]),
            numbers([name for _, _, name in counters]),
            numbers([c.delta for c in counters.values()]),
            numbers([c.room for c in counters.values()]),
        )

    def _add(self, append: Append) -> None:
        self._askers.append(self._tenants[append.tenant_id.int])
        self._commands.append(append.command_id.int)
        for expected in append.expected:
            if self._stream(expected.stream, expected.version).version != expected.version:
                raise Disputed
        for event in append.events:
            self._follow(event)
        for claim in append.claims:
            self._claim(claim)
        for counter in append.counters:
            self._count(counter)
        self._ends.append(len(self._events))

    def _follow(self, event: NewEvent) -> None:
        version = event.version
        stream = self._stream(event.stream, version - 1 if version > 1 else NO_STREAM)
        if version != stream.version + 1 and (version not in _FIRST_VERSIONS or stream.last or stream.was):
            raise Disputed
        self._events.append(event)
        self._event_streams.append(stream)
        stream.version = version
        stream.last = len(self._events)
        stream.first = stream.first or stream.last

    def _claim(self, claim: Claim) -> None:
        key = (self._tenants[claim.tenant_id.int], self._words[claim.scope], claim.key)
        if key in self._claims:
            raise Disputed
        self._claims[key] = claim

    def _count(self, counter: Counter) -> None:
        key = (self._tenants[counter.tenant_id.int], self._words[counter.scope], self._words[counter.name])
        if key not in self._counters:
            self._counters[key] = _Counter()
        self._counters[key].move(counter)

    def _ordered_streams(self) -> tuple[list[_Stream], list[_Stream], list[_Stream]]:
        """Those that begin, those that go on, and those only relied on."""
        begun: list[_Stream] = []
        moved: list[_Stream] = []
        still: list[_Stream] = []
        for stream in self._streams.values():
            (still if not stream.last else moved if stream.was else begun).append(stream)
        return begun, moved, still

    def _stream(self, ref: StreamRef, was: int) -> _Stream:
        """What is known of the stream; one met for the first time has to stand at `was`."""
        if ref is self._ref:
            return self._met
        key = (self._tenants[ref.tenant_id.int], ref.id.int)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream(*key, self._words[ref.category], was)
        self._ref, self._met = ref, stream
        return stream


def _claim_columns(claims: Sequence[tuple[tuple[int, int, str], int]]) -> Iterable[Any]:
    return (
        numbers([tenant for (tenant, _, _), _ in claims]),
        numbers([scope for (_, scope, _), _ in claims]),
        [key for (_, _, key), _ in claims],
        uuids([holder for _, holder in claims]),
    )
