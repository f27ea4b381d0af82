"""The tables and functions the bridge needs, and how a database comes by them."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import asyncpg

from eventstore.database import CONNECT_SECONDS_MAX

MIGRATION_SECONDS_MAX = 120.0

_PRESENT = """
    SELECT EXISTS (SELECT
                     FROM pg_class c
                     JOIN pg_namespace n ON n.oid = c.relnamespace
                    WHERE n.nspname = 'work' AND c.relname = 'bridge_tracking')
"""


class SchemaMissing(Exception):
    """The database lacks what the bridge needs, and it was not, or could not be, made."""


async def prepare(url: str, *, creates_tables: bool) -> None:
    """See that the database is far enough; if it is not, and that is wanted, apply the migrations. Raises SchemaMissing."""
    if await is_present(url):
        return
    if not creates_tables:
        raise SchemaMissing("the database is not up to date: run `python -m migrations`, or set CREATE_TABLE=yes")
    await _migrate(url)


async def is_present(url: str) -> bool:
    """Whether the database has the newest of what the bridge needs."""
    connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS_MAX)
    try:
        present: bool = await connection.fetchval(_PRESENT)
        return present
    finally:
        await connection.close()


async def _migrate(url: str) -> None:
    """The migrations stand above this layer: they are started, not imported, and Alembic stays out of this process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "migrations",
        cwd=Path(__file__).parent.parent.parent,
        env={**os.environ, "DCF_DATABASE_URL": url},
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        async with asyncio.timeout(MIGRATION_SECONDS_MAX):
            _, said = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise SchemaMissing(f"the migrations took longer than {MIGRATION_SECONDS_MAX:g} seconds") from None
    if process.returncode != 0:
        raise SchemaMissing(f"the migrations failed: {said.decode(errors='replace').strip()}")
