"""A town on PostgreSQL, in real time, with a worker that keeps what its runners ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry

from commands.basis import CODEC
from eventstore.database import connect
from process.settings import Settings
from projections.catalogue import QUERIES
from projections.monitor import Monitor
from projections.tables import install
from projections.views import PostgresViews
from projections.worker import Worker
from providers.simulated.weather import FAIR, Weather
from runner.composition import MODELS
from runner.postgres_stores import stores_on_postgres
from tests.runner.town import Town

LOOK_SECONDS = 0.02


@asynccontextmanager
async def town_on_postgres(url: str, data_dir: Path, seed: int = 0, *, weather: Weather = FAIR) -> AsyncIterator[Town]:
    async with AsyncExitStack() as exits:
        stores = await stores_on_postgres(Settings(data_dir=data_dir), url, exits)
        database = await exits.enter_async_context(connect(url, role="dcf_engine", size_max=2))
        await install(database, MODELS, [query for query in QUERIES if query.model in MODELS])
        worker = Worker(
            PostgresViews(database), stores.log, CODEC, MODELS, epoch=1, monitor=Monitor(CollectorRegistry())
        )
        await worker.start()
        working = asyncio.create_task(_work(worker))
        try:
            yield Town(seed, weather=weather, stores=stores, now=lambda: datetime.now(UTC))
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)


async def _work(worker: Worker) -> None:
    while True:
        if not await worker.turn():
            await asyncio.sleep(LOOK_SECONDS)
