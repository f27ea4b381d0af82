"""A log, the two pools, and workers on a database of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from eventstore.database import Pool, connect
from eventstore.postgres import PostgresLog
from eventstore.session import sessions
from projections.catalogue import QUERIES, READ_MODELS
from projections.monitor import Monitor
from projections.postgres_reader import PostgresReader
from projections.query import Found
from projections.read_model import AnyModel
from projections.row_changes import restored
from projections.tables import install
from projections.views import PostgresViews
from projections.worker import Worker
from tests.projections.history import CODEC, History


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Pool]:
    """A pool that acts as the engine."""
    async with connect(database_url, role="dcf_engine", size_max=4) as pool:
        yield pool


@pytest.fixture
async def app(database_url: str) -> AsyncIterator[Pool]:
    """A pool that acts as the API."""
    async with connect(database_url, role="dcf_app", size_max=4) as pool:
        yield pool


@pytest.fixture
async def log(database_url: str, database: Pool) -> AsyncIterator[PostgresLog]:
    async with PostgresLog(database, database_url, role="dcf_engine") as log:
        yield log


@pytest.fixture
def history(log: PostgresLog) -> History:
    return History(log)


@pytest.fixture
async def reader(database_url: str, app: Pool) -> AsyncIterator[PostgresReader]:
    async with PostgresReader(app, sessions(database_url, role="dcf_app")) as reader:
        yield reader


class Workshop:
    """Starts workers, and looks at what they have done."""

    def __init__(self, database: Pool, log: PostgresLog) -> None:
        self.database = database
        self.log = log
        self._epoch = 0

    async def worker(self, *models: AnyModel, **parts: Any) -> Worker:
        """A worker of the next epoch, which stands where the one before it stopped."""
        chosen = models or READ_MODELS
        queries = [query for query in QUERIES if query.model in chosen]
        await install(self.database, chosen, queries)
        self._epoch += 1
        given: dict[str, Any] = {"database": self.database, "monitor": Monitor(CollectorRegistry())} | parts
        worker = Worker(PostgresViews(given.pop("database")), self.log, CODEC, chosen, epoch=self._epoch, **given)
        await worker.start()
        return worker

    async def catch_up(self, *models: AnyModel) -> Worker:
        """A worker that has seen the whole log."""
        worker = await self.worker(*models)
        while await worker.turn():
            pass
        return worker

    async def table(self, model: AnyModel) -> dict[Any, Found[Any]]:
        """All rows of the model, as the table has them."""
        rows = await self.database.fetch(f"SELECT tenant_id, id, first_position, position, row FROM views.{model.kind}")
        return {
            (tenant_id, id): Found(tenant_id, id, first, position, raw, msgspec.json.decode(raw, type=model.row))
            for tenant_id, id, first, position, raw in rows
        }

    async def standing(self, model: AnyModel) -> list[tuple[Any, ...]]:
        """Every version of the model's rows, in order."""
        rows = await self.database.fetch(
            f"SELECT tenant_id, id, valid_from, valid_to, row FROM views.{model.kind}_versions"
            " ORDER BY tenant_id, id, valid_from"
        )
        return [(*row[:4], restored(row[4])) for row in rows]


@pytest.fixture
def workshop(database: Pool, log: PostgresLog) -> Workshop:
    return Workshop(database, log)
