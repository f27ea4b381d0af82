"""`read_your_writes`: from the answer of a write that does not wait to a read that shows it, against the library's wait()."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import uuid4

from benchmarks import eventsourcing_projection as peer
from benchmarks.effort import Effort
from benchmarks.figures import Figures, note, percentile_ms, ratio
from benchmarks.ground import Ground, ground
from benchmarks.past import fill, queued
from benchmarks.rounds import take_turns
from domain.catalogue import AGGREGATES
from eventstore.codec import Codec
from eventstore.database import connect
from eventstore.log import Append, Appended
from eventstore.postgres import PostgresLog
from eventstore.session import sessions
from migrations.upgrade import migrate
from projections.deployment_lists import DEPLOYMENT
from projections.postgres_reader import PostgresReader

WRITES_PER_SECOND = 200
EVENTS_BEFORE = 20_000
EVENTS_BEFORE_QUICK = 200
SECONDS_MAX = 60.0


class NotSeen(Exception):
    """What was written did not show."""


async def read_your_writes(effort: Effort) -> Figures:
    """Every read model is kept up by `python -m projections`, in a process of its own; what is read is a deployment."""
    async with ground() as place, AsyncExitStack() as exits:
        await fill(place.url, EVENTS_BEFORE_QUICK if effort.quick else EVENTS_BEFORE)
        library_url = await place.another_database("library")
        await migrate(library_url)
        await peer.make_tables(library_url)
        ours = await _ours(place, exits)
        library = exits.enter_context(peer.Following(library_url))
        times = await take_turns(
            "read_your_writes",
            {
                "ours": lambda: _paced(ours.once, effort.seconds),
                "library": lambda: _paced(_of_library(library), effort.seconds),
            },
            effort,
        )
    ours_seconds, library_seconds = (list(itertools.chain(*times[name])) for name in ("ours", "library"))
    p50, peer_p50 = percentile_ms(ours_seconds, 50), percentile_ms(library_seconds, 50)
    return {
        "writes_per_second": WRITES_PER_SECOND,
        "p50_ms": p50,
        "p99_ms": percentile_ms(ours_seconds, 99),
        "peer_p50_ms": peer_p50,
        "peer_p99_ms": percentile_ms(library_seconds, 99),
        "ratio": ratio(peer_p50, p50),
    }


async def _paced(once: Callable[[int], Awaitable[float]], seconds: float) -> list[float]:
    """Begin so many a second, whatever becomes of those before; how long each took to be seen."""
    began, tasks = time.perf_counter(), []
    for number in range(max(1, int(WRITES_PER_SECOND * seconds))):
        await asyncio.sleep(max(0.0, began + number / WRITES_PER_SECOND - time.perf_counter()))
        tasks.append(asyncio.ensure_future(once(next(_NUMBERS))))
    return await asyncio.gather(*tasks)


# Each write is about another deployment.
_NUMBERS = itertools.count(1)


async def _ours(place: Ground, exits: AsyncExitStack) -> _Ours:
    app = await exits.enter_async_context(connect(place.url, role="dcf_app", size_max=5))
    log = await exits.enter_async_context(PostgresLog(app, place.url, role="dcf_app"))
    await exits.enter_async_context(_projections(place))
    reader = await exits.enter_async_context(PostgresReader(app, sessions(place.url, role="dcf_app")))
    note("the read models catch up")
    if not await reader.wait_for(await log.head(), seconds_max=SECONDS_MAX):
        raise NotSeen("the read models did not catch up")
    return _Ours(log, reader)


class _Ours:
    def __init__(self, log: PostgresLog, reader: PostgresReader) -> None:
        self._log, self._reader, self._codec = log, reader, Codec(AGGREGATES)

    async def once(self, number: int) -> float:
        """Seconds from the answer of a write to a read that shows it."""
        stream, event, meta = queued(number)
        appended = await self._log.append(
            Append(
                tenant_id=stream.tenant_id,
                command_id=uuid4(),
                events=(self._codec.new_event(stream, 1, event, meta),),
            )
        )
        answered = time.perf_counter()
        assert isinstance(appended, Appended), "every write is about a deployment of its own"
        await self._reader.wait_for(appended.last_position, [DEPLOYMENT], seconds_max=SECONDS_MAX)
        if await self._reader.one(DEPLOYMENT, stream.tenant_id, event.project_id, stream.id) is None:
            raise NotSeen(str(stream.id))
        return time.perf_counter() - answered


def _of_library(library: peer.Following) -> Callable[[int], Awaitable[float]]:
    def once(number: int) -> float:
        position = library.record(number)
        answered = time.perf_counter()
        library.wait(position)
        return time.perf_counter() - answered

    return lambda number: asyncio.to_thread(once, number)


@asynccontextmanager
async def _projections(place: Ground) -> AsyncIterator[None]:
    """A projections process as the service starts it."""
    environment = {
        **os.environ,
        "DCF_DATABASE_URL": place.url,
        "DCF_DATA_DIR": str(place.data_dir / "projections"),
        "DCF_PROJECTIONS_PORT": "0",
        "DCF_LOG_LEVEL": "error",
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "projections", env=environment)
    try:
        yield
    finally:
        process.terminate()
        await process.wait()
