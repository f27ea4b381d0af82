"""The ground every benchmark stands on: a PostgreSQL of its own in a temporary folder, durable, the schema up to date."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import msgspec

from eventstore.embedded import Place
from eventstore.server import postgres
from migrations.upgrade import migrate
from process.settings import Settings


class Ground(msgspec.Struct, frozen=True):
    """`url` is the service's database; `data_dir` the folder it lives in, gone when the benchmark ends."""

    url: str
    data_dir: Path

    async def another_database(self, name: str) -> str:
        """The address of a new, empty database on the same server."""
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        return Place.of(self.data_dir).url(name)


@asynccontextmanager
async def ground() -> AsyncIterator[Ground]:
    """Start the server, migrate, and take all of it away at the end."""
    with tempfile.TemporaryDirectory(prefix="dcf-benchmark-", ignore_cleanup_errors=True) as directory:
        data_dir = Path(directory)
        async with postgres(Settings(data_dir=data_dir)) as url:
            await migrate(url)
            yield Ground(url, data_dir)
