"""`transparency`: the tree over a log that has none, against reading it alone; and appends while it is kept."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from random import Random

import asyncpg
from prometheus_client import CollectorRegistry

from audit.findings import Findings
from audit.tree_check import check_tree
from benchmarks.callers import Run, run
from benchmarks.effort import Effort
from benchmarks.figures import Figures, median, note, percentile_ms, ratio
from benchmarks.filling import BLOCK_EVENTS, fill
from benchmarks.ground import Ground, ground
from benchmarks.log_reading import read_rate
from benchmarks.rounds import take_turns
from benchmarks.sample import TENANTS, commands
from eventstore.archive.whole import Shelf
from eventstore.database import Database, connect
from eventstore.leases import PostgresLeases
from eventstore.postgres import PostgresLog
from eventstore.tree.keeping import MEMORY_NAME, STEP_EVENTS_MAX, Keeper, keeping, take_in
from eventstore.tree.keys import LogKeys
from eventstore.tree.monitor import TreeMonitor
from eventstore.tree.tree import PostgresTree, inclusion_proof

EVENTS = 20 * BLOCK_EVENTS
CALLERS = 32
PROOFS = 200
PROOFS_QUICK = 5
# So many appends a second the log is made for.
APPENDS_PER_SECOND = 20_000


class TreeIsWrong(Exception):
    """The tree that was made is not that of the log."""


async def transparency(effort: Effort) -> Figures:
    """One process makes the tree, and it is compared with the log afterwards; then callers append while it is kept."""
    async with ground() as place, AsyncExitStack() as exits:
        events = BLOCK_EVENTS if effort.quick else EVENTS
        await fill(place.url, events)
        database = await exits.enter_async_context(connect(place.url, role="dcf_engine", size_max=4))
        log = await exits.enter_async_context(PostgresLog(database, place.url, role="dcf_engine"))
        apart = await exits.enter_async_context(connect(place.url, role="dcf_engine", size_max=1, gives_way=True))
        course = _Course(place, database, log, apart, events)
        await course.hash()  # Whoever comes first would pay for the first of everything.
        rates = await take_turns(
            "transparency",
            {"tree": course.hash, "read": lambda: asyncio.to_thread(read_rate, place.url), "verify": course.verify},
            effort,
        )
        proofs = await course.prove(PROOFS_QUICK if effort.quick else PROOFS)
        note("appends, alone and while the tree is kept")
        await course.append(effort.seconds / 4, kept=False)
        appends = await take_turns(
            "appends",
            {
                "alone": lambda: course.append(effort.seconds, kept=False),
                "kept": lambda: course.append(effort.seconds, kept=True),
            },
            effort,
        )
    return _figures(rates, proofs, appends)


class _Course:
    def __init__(self, place: Ground, database: Database, log: PostgresLog, apart: Database, events: int) -> None:
        self._place, self._database, self._log, self._apart = place, database, log, apart
        self._events = events
        self._following = [commands(TENANTS[n % len(TENANTS)]) for n in range(CALLERS)]

    async def hash(self) -> float:
        """Events a second, from no tree to the end of the log."""
        connection = await asyncpg.connect(self._place.url)
        await connection.execute("TRUNCATE log.tree")
        await connection.close()
        tree = PostgresTree(self._database)
        began = time.perf_counter()
        while await tree.extend(at_most=STEP_EVENTS_MAX) < self._events:
            pass
        return self._events / (time.perf_counter() - began)

    async def verify(self) -> float:
        """Events a second that are hashed again and compared. Raises TreeIsWrong."""
        findings = Findings()
        began = time.perf_counter()
        await check_tree(self._database, self._log, Shelf(None), findings, lambda _: None)
        if not findings.are_good or findings.checked["tree"] < self._events:
            raise TreeIsWrong(f"{findings.checked['tree']} looked at, {findings.count} differ")
        return self._events / (time.perf_counter() - began)

    async def prove(self, count: int) -> list[float]:
        """How many seconds each of so many proofs took."""
        tree, chance, took = PostgresTree(self._database), Random(1), []
        for _ in range(count):
            began = time.perf_counter()
            await inclusion_proof(tree, chance.randrange(self._events), self._events)
            took.append(time.perf_counter() - began)
        return took

    async def append(self, seconds: float, *, kept: bool) -> Run:
        """One-event appends of all callers at once; with the tree kept as a service keeps it, or left alone."""
        askers = [lambda own=own: self._log.append(next(own)) for own in self._following]
        if not kept:
            return await run(askers, seconds)
        keeper = self._keeper()
        while await keeper.tree.size() < await self._log.head():
            await take_in(keeper)
        async with keeping(keeper):
            return await run(askers, seconds)

    def _keeper(self) -> Keeper:
        return Keeper(
            tree=PostgresTree(self._apart),
            log=self._log,
            leases=PostgresLeases(self._apart),
            keys=LogKeys.of(self._place.data_dir, None),
            memory=self._place.data_dir / MEMORY_NAME,
            shelf=Shelf(None),
            monitor=TreeMonitor(CollectorRegistry()),
            checkpoint_seconds=1.0,
        )


def _figures(rates: dict[str, list[float]], proofs: list[float], appends: dict[str, list[Run]]) -> Figures:
    tree, read, verify = (median(rates[name]) for name in ("tree", "read", "verify"))
    alone, kept = (median(found.per_second for found in appends[name]) for name in ("alone", "kept"))
    return {
        "events_per_second": tree,
        "ours_per_second": tree,
        "peer_per_second": read,
        "ratio": ratio(tree, read),
        "share_of_read": ratio(tree, read),
        # Of one processor, while so many are appended in a second.
        "processor_share": ratio(APPENDS_PER_SECOND, tree),
        "verified_per_second": verify,
        "p50_ms": percentile_ms(proofs, 50),
        "p99_ms": percentile_ms(proofs, 99),
        "appends_alone_per_second": alone,
        "appends_kept_per_second": kept,
        "append_ratio": ratio(kept, alone),
    }
