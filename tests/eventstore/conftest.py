"""The log and the leases under test: in memory and in PostgreSQL, by the same promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from eventstore.database import Pool, connect
from eventstore.log import Log
from eventstore.memory import MemoryLog
from eventstore.postgres import PostgresLog


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Pool]:
    """A pool that sees all tenants."""
    async with connect(database_url, role="dcf_engine", size_max=4) as pool:
        yield pool


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[Pool]:
    """A pool that may do everything."""
    async with connect(database_url, role="dcf_owner", size_max=2) as pool:
        yield pool


@pytest.fixture
async def postgres_log(database_url: str, database: Pool) -> AsyncIterator[PostgresLog]:
    async with PostgresLog(database, database_url, role="dcf_engine") as log:
        yield log


@pytest.fixture(params=["memory", "postgres"])
def log(request: pytest.FixtureRequest) -> Log:
    if request.param == "memory":
        return MemoryLog(now)
    in_postgres: Log = request.getfixturevalue("postgres_log")
    return in_postgres
