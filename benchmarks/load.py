"""`load`: a stream read and folded to its state, against the eventsourcing library's repository, with and without snapshot."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from uuid import UUID, uuid4

import msgspec

from benchmarks.callers import Run, run
from benchmarks.effort import Effort
from benchmarks.eventsourcing_application import Peer, peer
from benchmarks.figures import Figures, median, ratio
from benchmarks.ground import Ground, ground
from benchmarks.rounds import take_turns
from benchmarks.sample import DATA, META, TENANTS, TYPE
from commands.basis import CODEC
from commands.ids import new_id
from domain.catalogue import AGGREGATES
from domain.event import StreamRef
from domain.function import FUNCTION
from eventstore.codec import Codec
from eventstore.database import connect
from eventstore.limits import APPEND_EVENTS_MAX
from eventstore.log import Append, Appended, NewEvent, Snapshot
from eventstore.postgres import PostgresLog

LENGTHS = (10, 100, 10_000)
LENGTHS_QUICK = (10, 150)
# So many events came after the snapshot.
EVENTS_SINCE = 5
# What the figures without a length are of.
HEADLINE = 100


async def load(effort: Effort) -> Figures:
    """One caller each, which loads one stream of each length again and again; ours remembers nothing, but where it says so.

    A stream of fewer than a hundred events has no snapshot with us: reading it is cheaper.
    """
    lengths = LENGTHS_QUICK if effort.quick else LENGTHS
    async with ground() as place, AsyncExitStack() as exits:
        contest = await _contest(place, exits, effort)
        found = {length: await contest.of(length) for length in lengths}
    headline = found.get(HEADLINE, found[lengths[0]])
    told = ("ours_per_second", "peer_per_second", "ratio")
    return {name: headline[name] for name in told} | {"events": {str(length): found[length] for length in lengths}}


async def _contest(place: Ground, exits: AsyncExitStack, effort: Effort) -> _Contest:
    database = await exits.enter_async_context(connect(place.url, role="dcf_app", size_max=1))
    log = await exits.enter_async_context(PostgresLog(database, place.url, role="dcf_app"))
    other = exits.enter_context(peer(await place.another_database("library")))
    return _Contest(log, other, effort)


class _Contest:
    def __init__(self, log: PostgresLog, other: Peer, effort: Effort) -> None:
        self._log, self._other, self._effort = log, other, effort
        # States that are kept under a name are not used by code of none.
        self._without_snapshots = Codec(AGGREGATES)
        self._without_snapshots.code = ""

    async def of(self, length: int) -> Figures:
        """The figures for a stream of so many events."""
        stream = await self._written(length)
        theirs = await asyncio.to_thread(self._other.write, length, length - EVENTS_SINCE)
        results = await take_turns(
            f"{length} events",
            {
                "ours": self._ours(stream, self._without_snapshots),
                "peer": self._peer(theirs, snapshots=False),
                "ours_with_snapshot": self._ours(stream, CODEC),
                "peer_with_snapshot": self._peer(theirs, snapshots=True),
                "ours_remembered": self._ours(stream, CODEC, remembers=True),
            },
            self._effort,
        )
        rates = {f"{name}_per_second": median(r.per_second for r in runs) for name, runs in results.items()}
        return rates | {
            "ratio": ratio(rates["ours_per_second"], rates["peer_per_second"]),
            "ratio_with_snapshot": ratio(
                rates["ours_with_snapshot_per_second"], rates["peer_with_snapshot_per_second"]
            ),
        }

    def _ours(self, stream: StreamRef, codec: Codec, *, remembers: bool = False) -> Callable[[], Awaitable[Run]]:
        folds = self._log.folds

        async def ask() -> object:
            if not remembers:
                folds.forget(stream)
            [folded] = await folds.of(codec, [(FUNCTION, stream)])
            return folded

        return lambda: run([ask], self._effort.seconds)

    def _peer(self, id: UUID, *, snapshots: bool) -> Callable[[], Awaitable[Run]]:
        return lambda: asyncio.to_thread(self._other.load, id, self._effort.seconds, snapshots=snapshots)

    async def _written(self, length: int) -> StreamRef:
        """A stream of so many events, with a snapshot before the last of them."""
        stream = FUNCTION.stream(TENANTS[0], new_id())
        position = await self._append(stream, 1, length - EVENTS_SINCE)
        [found] = await self._log.folds.of(self._without_snapshots, [(FUNCTION, stream)])
        state = msgspec.json.encode(found.state)
        epoch = await self._log.epoch()
        await self._log.keep_snapshot(Snapshot(stream, CODEC.code, found.version, position, state), epoch=epoch)
        await self._append(stream, length - EVENTS_SINCE + 1, length)
        return stream

    async def _append(self, stream: StreamRef, first: int, last: int) -> int:
        """The versions from the first to the last; the position of that."""
        position = 0
        for begin in range(first, last + 1, APPEND_EVENTS_MAX):
            versions = range(begin, min(begin + APPEND_EVENTS_MAX, last + 1))
            events = tuple(NewEvent(stream, version, TYPE, 1, META, DATA) for version in versions)
            outcome = await self._log.append(Append(tenant_id=stream.tenant_id, command_id=uuid4(), events=events))
            assert isinstance(outcome, Appended), outcome
            position = outcome.last_position
        return position
