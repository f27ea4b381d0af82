"""One-event appends, durable: the log with everything switched on, the eventsourcing library, and a bare insert."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg

from benchmarks import library
from benchmarks.callers import Ask, Run, run
from benchmarks.effort import Effort
from benchmarks.figures import median, note, percentile, rounded
from benchmarks.ground import Ground, ground
from benchmarks.sample import DATA, META, TENANTS, TYPE, plain_appends
from eventstore.database import connect
from eventstore.log import Append, Appended
from eventstore.postgres import PostgresLog

CALLERS = (1, 32, 256)
# What a server of this size bears; more sessions make it slower.
SESSIONS_MAX = 32
COPIED_EVENTS = 50_000

_PLAIN_TABLE = """
    CREATE TABLE plain (
        position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        stream_id uuid NOT NULL,
        version integer NOT NULL,
        type text NOT NULL,
        meta bytea NOT NULL,
        data bytea NOT NULL,
        UNIQUE (stream_id, version)
    )
"""
_PLAIN_INSERT = "INSERT INTO plain (stream_id, version, type, meta, data) VALUES ($1, $2, $3, $4, $5)"


async def measure(effort: Effort) -> dict[str, Any]:
    """Rates a second and, for ours, percentiles of the latency, by the number of callers."""
    async with ground() as on, _ours(on) as log, _plain(on) as pool:
        url = await on.another_database("library")
        with library.datastore(url, pool_size=max(library.THREADS)) as store:
            recorder = library.recorder(store)
            threads = _best_threads(recorder, effort)
            figures = {}
            for callers in CALLERS if not effort.quick else CALLERS[:1]:
                figures[str(callers)] = await _callers(log, pool, recorder, threads, callers, effort)
        return {"callers": figures, "library_threads": threads, "copy_per_second": await _copy(pool, effort)}


def _best_threads(recorder: Any, effort: Effort) -> int:
    if effort.quick:
        return 1
    rates = {threads: library.insert(recorder, threads, effort.seconds).per_second for threads in library.THREADS}
    return max(rates, key=lambda threads: rates[threads])


async def _callers(
    log: PostgresLog, pool: asyncpg.Pool, recorder: Any, threads: int, callers: int, effort: Effort
) -> dict[str, float]:
    """Ours and the peers in turn, so that a slower minute of the machine is everybody's."""
    rates: dict[str, list[float]] = {"ours": [], "library": [], "asyncpg": []}
    latencies: list[float] = []
    for turn in range(effort.rounds):
        ours = await run(
            [_appending(log, plain_appends(TENANTS[n % len(TENANTS)])) for n in range(callers)], effort.seconds
        )
        plain = await run([_inserting(pool) for _ in range(callers)], effort.seconds)
        peer: Run = await asyncio.to_thread(library.insert, recorder, min(threads, callers), effort.seconds)
        rates["ours"].append(ours.per_second)
        rates["asyncpg"].append(plain.per_second)
        rates["library"].append(peer.per_second)
        latencies.extend(ours.latencies)
        note(
            f"append, {callers} callers, round {turn + 1}: {ours.per_second:,.0f} a second, insert {plain.per_second:,.0f}"
        )
    pairs = list(zip(rates["ours"], rates["library"], rates["asyncpg"], strict=True))
    return {
        "ours_per_second": rounded(median(rates["ours"])),
        "library_per_second": rounded(median(rates["library"])),
        "asyncpg_per_second": rounded(median(rates["asyncpg"])),
        "ratio_library": rounded(median([ours / peer for ours, peer, _ in pairs])),
        "ratio_asyncpg": rounded(median([ours / plain for ours, _, plain in pairs])),
        "p50_ms": rounded(percentile(latencies, 50) * 1000),
        "p99_ms": rounded(percentile(latencies, 99) * 1000),
    }


def _appending(log: PostgresLog, appends: Iterator[Append]) -> Ask:
    async def ask() -> None:
        outcome = await log.append(next(appends))
        if not isinstance(outcome, Appended):
            raise TypeError(f"an append of the benchmark was not recorded: {outcome}")

    return ask


def _inserting(pool: asyncpg.Pool) -> Ask:
    async def ask() -> None:
        await pool.execute(_PLAIN_INSERT, uuid4(), 1, TYPE, META, DATA)

    return ask


async def _copy(pool: asyncpg.Pool, effort: Effort) -> float:
    """What the server takes at most: all rows in one COPY."""
    rows = [(uuid4(), 1, TYPE, META, DATA) for _ in range(1000 if effort.quick else COPIED_EVENTS)]
    columns = ["stream_id", "version", "type", "meta", "data"]
    rates = []
    for _ in range(effort.rounds):
        await pool.execute("TRUNCATE plain")
        began = time.perf_counter()
        await pool.copy_records_to_table("plain", records=rows, columns=columns)
        rates.append(len(rows) / (time.perf_counter() - began))
    return rounded(median(rates))


@asynccontextmanager
async def _ours(on: Ground) -> AsyncIterator[PostgresLog]:
    async with connect(on.url, role="dcf_app") as pool, PostgresLog(pool, on.url, role="dcf_app") as log:
        yield log


@asynccontextmanager
async def _plain(on: Ground) -> AsyncIterator[asyncpg.Pool]:
    url = await on.another_database("plain")
    async with asyncpg.create_pool(url, min_size=SESSIONS_MAX, max_size=SESSIONS_MAX) as pool:
        await pool.execute(_PLAIN_TABLE)
        yield pool
