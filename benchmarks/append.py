"""`append`: one-event appends, against the eventsourcing library's recorder and against a plain INSERT."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from uuid import UUID

from eventsourcing.postgres import PostgresApplicationRecorder

from benchmarks.callers import Ask, Run, run
from benchmarks.effort import Effort
from benchmarks.eventsourcing_peer import THREADS, insert, recorder
from benchmarks.figures import Figures, median, note, percentile_ms, ratio
from benchmarks.ground import Ground, ground
from benchmarks.plain import POOL_SIZES, Plain, make_table, plain
from benchmarks.rounds import take_turns
from benchmarks.sample import TENANTS, commands, full_commands
from eventstore.database import connect
from eventstore.log import Append
from eventstore.postgres import PostgresLog

CALLERS = (1, 32, 256)
COPIED_EVENTS = 50_000
COPIED_EVENTS_QUICK = 500


async def append(effort: Effort) -> Figures:
    """Everything is switched on in ours: idempotency, versions, claims, counters, partitions, NOTIFY."""
    async with ground() as place, AsyncExitStack() as exits:
        contest = await _contest(place, exits, effort)
        callers = {str(count): await contest.among(count) for count in CALLERS}
        return {"callers": callers, "copy_per_second": await contest.copied()}


async def _contest(place: Ground, exits: AsyncExitStack, effort: Effort) -> _Contest:
    database = await exits.enter_async_context(connect(place.url, role="dcf_app", size_max=2))
    log = await exits.enter_async_context(PostgresLog(database, place.url, role="dcf_app"))
    plain_url = await place.another_database("plain")
    await make_table(plain_url)
    library_url = await place.another_database("library")
    library = exits.enter_context(recorder(library_url))
    return _Contest(log, library, plain_url, effort)


class _Contest:
    def __init__(self, log: PostgresLog, library: PostgresApplicationRecorder, plain_url: str, effort: Effort) -> None:
        self._log, self._library, self._plain_url, self._effort = log, library, plain_url, effort

    async def among(self, count: int) -> Figures:
        """The figures for so many callers."""
        seconds = self._effort.seconds
        threads = await self._best_threads(count)
        pool_size = await self._best_pool_size(count)
        ours, full = self._askers(commands, count), self._askers(full_commands, count)
        async with plain(self._plain_url, pool_size=pool_size) as table:
            inserts = _inserts(table, count)
            for askers in (ours, full, inserts):
                await run(askers, seconds / 4)  # Whoever comes first would pay for the first of everything.
            results = await take_turns(
                f"{count} callers",
                {
                    "ours": lambda: run(ours, seconds),
                    "library": lambda: asyncio.to_thread(insert, self._library, threads, seconds),
                    "full": lambda: run(full, seconds),
                    "asyncpg": lambda: run(inserts, seconds),
                },
                self._effort,
            )
        return {**_figures(results), "library_threads": threads, "asyncpg_connections": pool_size}

    async def copied(self) -> float:
        """How many rows a second one COPY brings in."""
        events = COPIED_EVENTS_QUICK if self._effort.quick else COPIED_EVENTS
        rates = []
        async with plain(self._plain_url, pool_size=1) as table:
            for _ in range(self._effort.rounds):
                began = time.perf_counter()
                await table.copy(events)
                rates.append(events / (time.perf_counter() - began))
        return median(rates)

    def _askers(self, following: Callable[[UUID], Iterator[Append]], count: int) -> list[Ask]:
        return [_asker(self._log, following(TENANTS[n % len(TENANTS)])) for n in range(count)]

    async def _best_threads(self, callers: int) -> int:
        async def rate(threads: int) -> float:
            found = await asyncio.to_thread(insert, self._library, threads, self._effort.seconds / 2)
            return found.per_second

        return await self._best("library threads", [n for n in THREADS if n <= callers], rate)

    async def _best_pool_size(self, callers: int) -> int:
        async def rate(pool_size: int) -> float:
            async with plain(self._plain_url, pool_size=pool_size) as table:
                return (await run(_inserts(table, callers), self._effort.seconds / 2)).per_second

        sizes = [n for n in POOL_SIZES if n <= callers] or [1]
        return await self._best("asyncpg connections", sizes, rate)

    async def _best(self, what: str, choices: list[int], rate: Callable[[int], Awaitable[float]]) -> int:
        """The choice with the highest rate, each tried twice; of one there is nothing to choose."""
        if len(choices) == 1 or self._effort.quick:
            return choices[-1]
        rates = {choice: max(await rate(choice), await rate(choice)) for choice in choices}
        best = max(rates, key=lambda choice: rates[choice])
        note(f"{what}: {best} is best of {choices}")
        return best


def _asker(log: PostgresLog, following: Iterator[Append]) -> Ask:
    return lambda: log.append(next(following))


def _inserts(table: Plain, count: int) -> list[Ask]:
    return [table.caller(TENANTS[n % len(TENANTS)]) for n in range(count)]


def _figures(results: dict[str, list[Run]]) -> Figures:
    rates = {name: median(found.per_second for found in runs) for name, runs in results.items()}
    latencies = {name: [seconds for found in runs for seconds in found.latencies] for name, runs in results.items()}
    return {
        "ours_per_second": rates["ours"],
        "library_per_second": rates["library"],
        "asyncpg_per_second": rates["asyncpg"],
        "ratio_library": ratio(rates["ours"], rates["library"]),
        "ratio_asyncpg": ratio(rates["ours"], rates["asyncpg"]),
        "p50_ms": percentile_ms(latencies["ours"], 50),
        "p99_ms": percentile_ms(latencies["ours"], 99),
        "asyncpg_p50_ms": percentile_ms(latencies["asyncpg"], 50),
        "full_per_second": rates["full"],
    }
