"""The log and the read models as who looks after the service reaches them: in the database, where the service runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg
import msgspec
import structlog

from cli.operating import UNAVAILABLE, settings_of
from cli.session import Session
from cli.trouble import Trouble
from eventstore.database import Database, connect
from eventstore.postgres import PostgresLog
from eventstore.server import postgres
from migrations.upgrade import newest
from process import logs
from process.settings import Settings

T = TypeVar("T")

# One reads ahead while another holds a snapshot.
POOL_SIZE_MAX = 4


class Store(msgspec.Struct, frozen=True):
    """Both act as dcf_engine, which sees all tenants. `url` is the database's address."""

    settings: Settings
    url: str
    database: Database
    log: PostgresLog


def with_store(session: Session, work: Callable[[Store], Coroutine[Any, Any, T]]) -> T:
    """What the work comes to. Raises Trouble, also for a database that is not there or has another schema."""

    async def run() -> T:
        async with opened(settings_of(session.environment)) as store:
            return await work(store)

    if not structlog.is_configured():  # Otherwise warnings would stand among the results.
        logs.set_up("dcf", level="warning")
    try:
        return asyncio.run(run())
    except UNAVAILABLE as problem:
        raise Trouble(f"The log cannot be read: {problem}", then="dcf doctor") from problem


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Store]:
    """The database of these settings, which has to have this release's schema. Raises Trouble."""
    async with (
        postgres(settings) as url,
        connect(
            url,
            role="dcf_engine",
            size_max=POOL_SIZE_MAX,
            statement_cache_size=settings.statement_cache_size,
            application_name="dcf audit",
        ) as database,
    ):
        await _require_schema(database)
        direct = settings.database_direct_url
        async with PostgresLog(
            database,
            url,
            role="dcf_engine",
            listen_url=direct.reveal() if direct else None,
            statement_cache_size=settings.statement_cache_size,
        ) as log:
            yield Store(settings, url, database, log)


async def _require_schema(database: Database) -> None:
    try:
        revision = await database.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError as problem:
        raise Trouble("The database is empty: there is no log yet.", then="dcf serve") from problem
    if revision != newest():
        then = "dcf migrate" if revision < newest() else "use the release that made it, or a newer one"
        raise Trouble(f"The database has schema {revision}, and this release {newest()}.", then=then)
