"""`growth`: appends, stream loads and reads in order while the log grows, also beside a snapshot that nobody closes."""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import msgspec

from benchmarks.callers import Ask, Run, run
from benchmarks.effort import Effort
from benchmarks.eventsourcing_peer import Grown, recorder
from benchmarks.figures import Figures, median, ratio, rounded
from benchmarks.filling import BLOCK_EVENTS, fill, fill_peer, streams, tidy
from benchmarks.ground import Ground, ground
from benchmarks.rounds import take_turns
from benchmarks.sample import TENANTS, commands
from eventstore.database import connect
from eventstore.postgres import PostgresLog
from migrations.upgrade import migrate

SIZES = (100_000, 1_000_000, 3_000_000)
SIZES_QUICK = (BLOCK_EVENTS, 2 * BLOCK_EVENTS, 3 * BLOCK_EVENTS)
CALLERS = 32
READ_EVENTS = 100
# There is much to measure: each turn is short, and there are more of them.
TURNS_A_SECOND = 4
TURNS_A_ROUND = 2

# What the growth is told of, in the order in which it is measured. What is read again and again is what is new: loads and
# reads go to as many of the newest events as the smallest log has, so that what differs is the log and not how much of it
# memory holds. Those that go anywhere are told beside them.
_KINDS = ("append", "append_alone", "load", "read", "load_anywhere", "read_anywhere")

# Any look at the database gives the transaction its snapshot.
_LOOK = "SELECT count(*) FROM log.epochs"


async def growth(effort: Effort) -> Figures:
    """Logs of all sizes stand beside each other and take turns, so whatever else the machine does meets all alike.

    First all of it happens beside a transaction in each log that was opened when that was empty, and is kept open; then
    these are closed and it is measured again. The peer's table is filled to the smallest and the largest size.
    """
    sizes = SIZES_QUICK if effort.quick else SIZES
    effort = msgspec.structs.replace(
        effort, seconds=effort.seconds / TURNS_A_SECOND, rounds=effort.rounds * TURNS_A_ROUND
    )
    async with ground() as place, AsyncExitStack() as exits:
        async with AsyncExitStack() as snapshots:
            urls = {size: await _filled(place, size, snapshots) for size in sizes}
            contestants: dict[str, Callable[[], Awaitable[Run]]] = {}
            for size, url in urls.items():
                log = await exits.enter_async_context(_log(url))
                contestants |= _ours(log, size, sizes[0], effort)
            with_snapshot = await take_turns("with a snapshot open", contestants, effort)
        for url in urls.values():
            await tidy(url)
        for size in (sizes[0], sizes[-1]):
            url = await place.another_database(f"library_{size}")
            library = exits.enter_context(recorder(url))
            await fill_peer(url, size)
            contestants |= _theirs(Grown(library, size, sizes[0]), size, effort)
        without = await take_turns("without", contestants, effort)
    return _figures(sizes, _costs(without), _costs(with_snapshot), without)


async def _filled(place: Ground, size: int, snapshots: AsyncExitStack) -> str:
    url = await place.another_database(f"log_{size}")
    await migrate(url)
    await snapshots.enter_async_context(_snapshot(url))
    await fill(url, size)
    return url


@asynccontextmanager
async def _snapshot(url: str) -> AsyncIterator[None]:
    """A transaction that saw the log as it is now, and goes on seeing that until the block ends."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.execute(_LOOK)
            yield
    finally:
        await connection.close()


@asynccontextmanager
async def _log(url: str) -> AsyncIterator[PostgresLog]:
    async with (
        connect(url, role="dcf_engine", size_max=1) as database,
        PostgresLog(database, url, role="dcf_app") as log,
    ):
        yield log


def _ours(log: PostgresLog, size: int, newest: int, effort: Effort) -> Mapping[str, Callable[[], Awaitable[Run]]]:
    writing: list[Ask] = [_writer(log, n) for n in range(CALLERS)]
    askers: dict[str, Sequence[Ask]] = {
        "append": writing,
        "append_alone": writing[:1],
        "load": [_loader(log, size, newest)],
        "read": [_reader(log, size, newest)],
        "load_anywhere": [_loader(log, size, size)],
        "read_anywhere": [_reader(log, size, size)],
    }
    return {_name(kind, size): _turn(askers[kind], effort) for kind in _KINDS}


def _theirs(library: Grown, size: int, effort: Effort) -> Mapping[str, Callable[[], Awaitable[Run]]]:
    def turn(measure: Callable[[float], Run]) -> Callable[[], Awaitable[Run]]:
        return lambda: asyncio.to_thread(measure, effort.seconds)

    return {
        _name("peer_append", size): turn(library.append),
        _name("peer_load", size): turn(library.load),
        _name("peer_read", size): turn(lambda seconds: library.read(READ_EVENTS, seconds)),
    }


def _writer(log: PostgresLog, number: int) -> Ask:
    following = commands(TENANTS[number % len(TENANTS)])
    return lambda: log.append(next(following))


def _loader(log: PostgresLog, size: int, newest: int) -> Ask:
    following = streams(size, newest, seed=size)
    return lambda: log.load([next(following)])


def _reader(log: PostgresLog, size: int, newest: int) -> Ask:
    chance = random.Random(size)
    return lambda: log.read(chance.randrange(size - newest, size - READ_EVENTS), limit=READ_EVENTS)


def _turn(askers: Sequence[Ask], effort: Effort) -> Callable[[], Awaitable[Run]]:
    return lambda: run(askers, effort.seconds)


def _name(kind: str, size: int) -> str:
    return f"{kind} {size}"


def _costs(results: Mapping[str, Sequence[Run]]) -> dict[str, float]:
    """Milliseconds: of many callers what one append took of the whole, of one caller how long it waited for one answer."""
    costs = {}
    for name, runs in results.items():
        if name.startswith(("append ", "peer_append ")):
            cost = statistics.median(1 / found.per_second for found in runs)
        else:
            cost = statistics.median(statistics.median(found.latencies) for found in runs)
        costs[name] = rounded(cost * 1000)
    return costs


def _figures(
    sizes: Sequence[int],
    costs: Mapping[str, float],
    with_snapshot: Mapping[str, float],
    results: Mapping[str, Sequence[Run]],
) -> Figures:
    smallest, largest = sizes[0], sizes[-1]
    ours = median(found.per_second for found in results[_name("append", largest)])
    peer = median(found.per_second for found in results[_name("peer_append", largest)])

    def grown_by(found: Mapping[str, float], kind: str) -> float:
        return ratio(found[_name(kind, largest)], found[_name(kind, smallest)])

    return {
        "ours_per_second": ours,
        "peer_per_second": peer,
        "ratio": ratio(ours, peer),
        "sizes": {
            str(size): {f"{kind}_ms": costs[_name(kind, size)] for kind in _KINDS}
            | {f"{kind}_with_snapshot_ms": with_snapshot[_name(kind, size)] for kind in _KINDS}
            for size in sizes
        },
        "growth": {kind: grown_by(costs, kind) for kind in _KINDS},
        "growth_with_snapshot": {kind: grown_by(with_snapshot, kind) for kind in _KINDS},
        "peer_growth": {kind: grown_by(costs, f"peer_{kind}") for kind in ("append", "load", "read")},
    }
