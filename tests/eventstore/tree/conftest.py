"""The tree under test: in memory and in PostgreSQL, by the same promises, and what keeps it."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry

from eventstore.archive.whole import Shelf
from eventstore.database import Pool
from eventstore.leases import PostgresLeases
from eventstore.log import Log
from eventstore.postgres import PostgresLog
from eventstore.tree.keeping import Keeper
from eventstore.tree.keys import LogKeys
from eventstore.tree.monitor import TreeMonitor
from eventstore.tree.tree import GrowingTree, MemoryTree, PostgresTree
from tests.eventstore.conftest import database, log, owner, postgres_log

__all__ = ["database", "log", "owner", "postgres_log"]

LOG_ID = UUID(int=7)


@pytest.fixture
def tree(request: pytest.FixtureRequest, log: Log) -> GrowingTree:
    if isinstance(log, PostgresLog):
        return PostgresTree(request.getfixturevalue("database"))
    return MemoryTree(log, LOG_ID)


def a_keeper(log: PostgresLog, database: Pool, directory: Path, *, archive: Path | None = None) -> Keeper:
    return Keeper(
        tree=PostgresTree(database),
        log=log,
        leases=PostgresLeases(database),
        keys=LogKeys.of(directory, None),
        memory=directory / "log-signed.txt",
        shelf=Shelf(archive),
        monitor=TreeMonitor(CollectorRegistry()),
        checkpoint_seconds=10.0,
    )
