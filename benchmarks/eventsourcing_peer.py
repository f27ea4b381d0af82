"""The peer: the eventsourcing library on the same server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg.conninfo import conninfo_to_dict

from benchmarks.callers import Run
from benchmarks.sample import DATA, META, TENANTS, TYPE, versions

# Tried one after the other; the best is what we are measured against.
THREADS = (1, 2, 4, 8, 16, 32)


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


def insert(recorder: PostgresApplicationRecorder, threads: int, seconds: float) -> Run:
    """One-event inserts by so many threads. Blocks."""
    latencies: list[float] = []
    began = time.perf_counter()
    end = began + seconds

    def insert_on() -> None:
        following = versions(TENANTS[0])
        now = time.perf_counter()
        while now < end:
            stream, version = next(following)
            recorder.insert_events([StoredEvent(stream.id, version, TYPE, META + DATA)])
            before, now = now, time.perf_counter()
            latencies.append(now - before)

    workers = [threading.Thread(target=insert_on) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return Run(time.perf_counter() - began, latencies)
