"""The peer: the eventsourcing library on the same server."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg.conninfo import conninfo_to_dict

from benchmarks.callers import Run
from benchmarks.filling import streams
from benchmarks.sample import DATA, META, TENANTS, TYPE, versions

# Tried one after the other; the best is what we are measured against.
THREADS = (1, 2, 4, 8, 16, 32)
# What mostly comes out best.
GROWN_THREADS = 2


@contextmanager
def recorder(url: str) -> Iterator[PostgresApplicationRecorder]:
    """The library's recorder in its safe default mode, in which every insert locks the table; its table made."""
    parts: dict[str, Any] = conninfo_to_dict(url)
    with PostgresDatastore(
        dbname=parts["dbname"],
        host=parts["host"],
        port=parts["port"],
        user=parts["user"],
        password="",
        pool_size=max(THREADS),
    ) as datastore:
        made = PostgresApplicationRecorder(datastore)
        made.create_table()
        yield made


class Grown:
    """The library's recorder on a table that was filled with so many events, of which the newest are asked for."""

    def __init__(self, recorder: PostgresApplicationRecorder, events: int, newest: int) -> None:
        self._recorder = recorder
        self._events, self._newest = events, newest
        self._chance = random.Random(events)

    def append(self, seconds: float) -> Run:
        """One-event inserts by a few threads. Blocks, as all of these do."""
        return insert(self._recorder, GROWN_THREADS, seconds)

    def load(self, seconds: float) -> Run:
        """Whole streams, one after another."""
        anywhere = streams(self._events, self._newest, seed=self._events)
        return _ask_on(lambda: self._recorder.select_events(next(anywhere).id), seconds)

    def read(self, count: int, seconds: float) -> Run:
        """So many notifications in order, after any position."""
        first, last = self._events - self._newest, self._events - count
        return _ask_on(
            lambda: self._recorder.select_notifications(1 + self._chance.randrange(first, last), count), seconds
        )


def _ask_on(ask: Callable[[], object], seconds: float) -> Run:
    latencies: list[float] = []
    began = now = time.perf_counter()
    while now < began + seconds:
        ask()
        before, now = now, time.perf_counter()
        latencies.append(now - before)
    return Run(now - began, latencies)


def insert(recorder: PostgresApplicationRecorder, threads: int, seconds: float) -> Run:
    """One-event inserts by so many threads, one by each at least. Blocks."""
    latencies: list[float] = []
    began = time.perf_counter()
    end = began + seconds

    def insert_on() -> None:
        following = versions(TENANTS[0])
        now = time.perf_counter()
        while True:
            stream, version = next(following)
            recorder.insert_events([StoredEvent(stream.id, version, TYPE, META + DATA)])
            before, now = now, time.perf_counter()
            latencies.append(now - before)
            if now >= end:
                return

    workers = [threading.Thread(target=insert_on) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return Run(time.perf_counter() - began, latencies)
