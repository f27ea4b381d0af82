"""`catchup`: one worker through a log it has never seen, against the eventsourcing library's ProjectionRunner."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from uuid import UUID

import msgspec
from prometheus_client import CollectorRegistry

from benchmarks import eventsourcing_projection as peer
from benchmarks.effort import Effort
from benchmarks.figures import Figures, median, note, ratio
from benchmarks.ground import Ground, ground
from benchmarks.log_reading import read_rate
from benchmarks.past import fill, past
from benchmarks.rounds import take_turns
from domain.catalogue import AGGREGATES
from eventstore.codec import Codec
from eventstore.database import Database, connect
from eventstore.postgres import PostgresLog
from migrations.upgrade import migrate
from process.garbage import collect_rarely
from projections.deployments import DEPLOYMENTS
from projections.dropping import drop_kind
from projections.monitor import Monitor
from projections.read_model import AnyModel
from projections.rebuild.verification import Findings, Past, check_rows
from projections.tables import install
from projections.views import PostgresViews
from projections.worker import Worker

EVENTS = 100_000
EVENTS_QUICK = 2_000
# More than the library gets past in the time it is given.
PEER_EVENTS = 10_000
PEER_EVENTS_QUICK = 500
CHECKED_ROWS = 50

_ROW_IDS = "SELECT tenant_id, id FROM views.{kind} ORDER BY md5(id::text) LIMIT $1"
_QUEUED = "SELECT count(*) FROM log.events WHERE type = 'deployment.queued'"


class NotExactlyOnce(Exception):
    """The rows are not what the log says."""


async def catchup(effort: Effort) -> Figures:
    """The deployments read model, without and with its history; what was made is compared with the log."""
    collect_rarely()
    async with ground() as place, AsyncExitStack() as exits:
        note("the log is filled")
        await fill(place.url, EVENTS_QUICK if effort.quick else EVENTS)
        library_url = await _library(place, effort)
        database = await exits.enter_async_context(connect(place.url, role="dcf_engine", size_max=4))
        log = await exits.enter_async_context(PostgresLog(database, place.url, role="dcf_engine"))
        course = _Course(database, log)
        await course.run(keeps_history=False)  # Whoever comes first would pay for the first of everything.
        rates = await take_turns(
            "catchup",
            {
                "off": lambda: course.run(keeps_history=False),
                "on": lambda: course.run(keeps_history=True),
                "read": lambda: asyncio.to_thread(read_rate, place.url),
                "library": lambda: asyncio.to_thread(peer.catch_up, library_url, effort.seconds),
            },
            effort,
        )
    return _figures(rates)


async def _library(place: Ground, effort: Effort) -> str:
    url = await place.another_database("library")
    await migrate(url)
    await peer.make_tables(url)
    await asyncio.to_thread(peer.fill, url, past(PEER_EVENTS_QUICK if effort.quick else PEER_EVENTS))
    return url


class _Course:
    def __init__(self, database: Database, log: PostgresLog) -> None:
        self._database, self._log, self._codec = database, log, Codec(AGGREGATES)
        self._builds = itertools.count(1)

    async def run(self, *, keeps_history: bool) -> float:
        """Events a second from an empty table to the end of the log."""
        model = msgspec.structs.replace(DEPLOYMENTS, build=next(self._builds), keeps_history=keeps_history)
        await install(self._database, [model], [])
        worker = Worker(
            PostgresViews(self._database),
            self._log,
            self._codec,
            [model],
            epoch=1,
            monitor=Monitor(CollectorRegistry()),
        )
        await worker.start()
        began = time.perf_counter()
        while await worker.turn():
            pass
        seconds = time.perf_counter() - began
        await self._check(model, worker.position)
        async with self._database.transaction() as connection:
            await drop_kind(connection, model.kind)
        return worker.position / seconds

    async def _check(self, model: AnyModel, position: int) -> None:
        """Raises NotExactlyOnce unless there is a row for each deployment, and those looked at are as the log says."""
        count = await self._database.fetchval(f"SELECT count(*) FROM views.{model.kind}")  # noqa: S608 - the kind is the model's own
        rows = await self._database.fetch(_ROW_IDS.format(kind=model.kind), CHECKED_ROWS)
        keys: Sequence[tuple[UUID, UUID]] = [(row[0], row[1]) for row in rows]
        findings = Findings()
        await check_rows(Past(self._database), self._codec, model, position, keys, findings)
        if findings.wrong or count != await self._database.fetchval(_QUEUED):
            raise NotExactlyOnce(f"{count} rows; wrong: {findings.wrong}")


def _figures(rates: dict[str, list[float]]) -> Figures:
    off, on, read, library = (median(rates[name]) for name in ("off", "on", "read", "library"))

    def told(ours: float) -> Figures:
        return {"events_per_second": ours, "ratio": ratio(ours, library), "share_of_read": ratio(ours, read)}

    return {
        **told(off),
        "ours_per_second": off,
        "peer_per_second": library,
        "read_per_second": read,
        "history_off": told(off),
        "history_on": told(on),
    }
