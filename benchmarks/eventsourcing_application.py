"""The peer: an application on the eventsourcing library, on the library's own PostgreSQL module."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from psycopg.conninfo import conninfo_to_dict

from benchmarks.callers import Run
from benchmarks.sample import DATA

# What our events carry, as the library's carry it.
AUTHORED: dict[str, Any] = json.loads(DATA)["authored"]
# The library sends all of them before it reads an answer; of ten times as many psycopg and the server came to wait for each other
# now and then, for ever: some 600 KB one way, and the answers the other, are more than a socket holds.
EVENTS_AT_ONCE = 100


class Greeter(Aggregate):
    """What our function is: its record, replaced by each event."""

    @event("Created")
    def __init__(self, authored: dict[str, Any]) -> None:
        self.authored = authored
        self.revision = 1

    @event("Updated")
    def update(self, authored: dict[str, Any]) -> None:
        self.authored = authored
        self.revision += 1


class Peer:
    """Two applications on one database: one looks for snapshots, the other does not."""

    def __init__(self, plain: Application[UUID], snapshotting: Application[UUID]) -> None:
        self._plain, self._snapshotting = plain, snapshotting

    def write(self, length: int, snapshot_at: int) -> UUID:
        """An aggregate of so many events, with a snapshot of an earlier version. Blocks."""
        greeter = Greeter(AUTHORED)
        for number in range(1, length):
            greeter.update(AUTHORED)
            if number % EVENTS_AT_ONCE == 0:
                self._plain.save(greeter)
        self._plain.save(greeter)
        self._snapshotting.take_snapshot(greeter.id, version=snapshot_at)
        return greeter.id

    def load(self, id: UUID, seconds: float, *, snapshots: bool) -> Run:
        """Load it again and again. Blocks."""
        repository = (self._snapshotting if snapshots else self._plain).repository
        latencies: list[float] = []
        began = now = time.perf_counter()
        while now < began + seconds:
            loaded: Greeter = repository.get(id)
            assert loaded.authored == AUTHORED
            before, now = now, time.perf_counter()
            latencies.append(now - before)
        return Run(now - began, latencies)


@contextmanager
def peer(url: str) -> Iterator[Peer]:
    """The peer on an empty database; its tables made."""
    parts: dict[str, Any] = conninfo_to_dict(url)
    environment = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": parts["dbname"],
        "POSTGRES_HOST": parts["host"],
        "POSTGRES_PORT": parts["port"],
        "POSTGRES_USER": parts["user"],
        "POSTGRES_PASSWORD": "",
    }
    with (
        Application[UUID](environment) as plain,
        Application[UUID](environment | {"IS_SNAPSHOTTING_ENABLED": "y"}) as snapshotting,
    ):
        yield Peer(plain, snapshotting)
