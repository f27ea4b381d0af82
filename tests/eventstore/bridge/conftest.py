"""A bridge to one tenant and one to all, beside the log as the service has it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from eventsourcing.utils import Environment

from eventstore.bridge import Factory
from eventstore.database import Pool, connect
from eventstore.postgres import PostgresLog
from tests.eventstore.bridge.environments import environment
from tests.projections.conftest import Workshop
from tests.projections.history import History
from tests.support import a


@pytest.fixture
def environ(database_url: str) -> dict[str, str]:
    """For the tenant of the sample facts."""
    return environment(database_url, a.TENANT_ID)


@pytest.fixture
def bridge(environ: dict[str, str]) -> Iterator[Factory]:
    """Sees the tenant of the sample facts."""
    with Factory(Environment("Library", environ)) as factory:
        yield factory


@pytest.fixture
def operators_bridge(database_url: str) -> Iterator[Factory]:
    """Sees all tenants."""
    with Factory(Environment("Operator", environment(database_url, None))) as factory:
        yield factory


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Pool]:
    async with connect(database_url, role="dcf_engine", size_max=2) as pool:
        yield pool


@pytest.fixture
async def log(database_url: str, database: Pool) -> AsyncIterator[PostgresLog]:
    """The log as the service has it."""
    async with PostgresLog(database, database_url, role="dcf_engine") as log:
        yield log


@pytest.fixture
def history(log: PostgresLog) -> History:
    """Writes as the service does."""
    return History(log)


@pytest.fixture
def workshop(database: Pool, log: PostgresLog) -> Workshop:
    """Starts the workers of our read models."""
    return Workshop(database, log)
