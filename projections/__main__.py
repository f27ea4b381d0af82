"""`python -m projections`: keeps what can be seen up with what happened."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import timedelta
from functools import partial

import structlog
import uvloop

from domain.catalogue import AGGREGATES
from eventstore.archive.whole import Shelf
from eventstore.codec import Codec
from eventstore.database import Database, Pool, connect
from eventstore.embedded import PostgresUnavailable
from eventstore.housekeeping import housekeeping
from eventstore.leases import PostgresLeases
from eventstore.log import Log
from eventstore.postgres import PostgresLog
from eventstore.server import once_there, postgres
from eventstore.tree.keeping import MEMORY_NAME, Keeper, keeping
from eventstore.tree.keys import LogKeys
from eventstore.tree.monitor import TreeMonitor
from eventstore.tree.tree import PostgresTree
from migrations.upgrade import MigrationFailed, migrate
from process import logs
from process.garbage import collect_rarely
from process.health import Check, Health
from process.ports import AddressUnusable, PortTaken, listen_again
from process.serving import serving
from process.settings import SettingInvalid, Settings
from process.stopping import GONE_SECONDS_MAX
from projections.awaited import CHANNEL, Awaited
from projections.catalogue import QUERIES
from projections.engine import LEASE_NAME, Parts, run
from projections.monitor import Monitor
from projections.pace import Pace
from projections.rebuild.lane import LaneOrder
from projections.rebuild.lane_process import Assignment, lane_processes
from projections.rebuild.steps import Tools
from projections.views import PostgresViews

# One writes, one reads ahead, one renews the lease, one answers health checks.
POOL_SIZE_MAX = 4
# A rebuild compares in one session what it holds still in another, feeds in a third, and keeps its lease in a fourth.
REBUILD_POOL_SIZE_MAX = 5
# More would only wait for PostgreSQL.
LANES_MAX = 8


def main() -> int:
    """Run until SIGTERM; 1 when it cannot be started."""
    collect_rarely()
    try:
        settings = Settings.from_environment(os.environ)
        logs.set_up("projections", style=settings.log_format, level=settings.log_level)
        uvloop.run(once_there(settings, partial(_run, settings), gone_seconds_max=GONE_SECONDS_MAX))
    except (SettingInvalid, PortTaken, AddressUnusable, MigrationFailed, PostgresUnavailable) as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    return 0


async def _run(settings: Settings, stop: asyncio.Event) -> None:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    port = listen_again(
        settings.host,
        settings.projections_port,
        variable="DCF_PROJECTIONS_PORT",
        name="projections",
        data_dir=settings.data_dir,
    )
    async with AsyncExitStack() as exits:
        url = await exits.enter_async_context(postgres(settings))
        await migrate(url)
        database = await _pool(settings, url, exits)
        parts = await _parts(settings, url, database, exits)
        monitor = parts.monitor
        keeper = await _keeper(settings, url, parts.log, exits)
        checks = {
            "database": _database_check(database),
            "lease": monitor.check_lease,
            "parked": monitor.check_parked,
            "log tree": keeper.monitor.check,
        }
        await exits.enter_async_context(serving(Health(checks), port))
        commands_kept = timedelta(days=settings.idempotency_days)
        await exits.enter_async_context(housekeeping(lambda: _owner(settings, url), commands_kept=commands_kept))
        await exits.enter_async_context(keeping(keeper))
        structlog.get_logger().info("projections_ready", health_port=port.getsockname()[1])
        await run(parts, stop)


async def _pool(settings: Settings, url: str, exits: AsyncExitStack) -> Pool:
    return await exits.enter_async_context(
        connect(
            url,
            role="dcf_engine",
            size_max=POOL_SIZE_MAX,
            statement_cache_size=settings.statement_cache_size,
            application_name="dcf projections",
        )
    )


async def _parts(settings: Settings, url: str, database: Pool, exits: AsyncExitStack) -> Parts:
    direct, awaited = settings.database_direct_url, Awaited()
    log = PostgresLog(
        database,
        url,
        role="dcf_engine",
        listen_url=direct.reveal() if direct else None,
        statement_cache_size=settings.statement_cache_size,
        also={CHANNEL: awaited.heard},
    )
    await exits.enter_async_context(log)
    monitor, codec = Monitor(), Codec(AGGREGATES)
    apart = await exits.enter_async_context(
        connect(
            url,
            role="dcf_engine",
            size_min=0,
            size_max=REBUILD_POOL_SIZE_MAX,
            statement_cache_size=settings.statement_cache_size,
            application_name="dcf rebuild",
            gives_way=True,
        )
    )
    lanes = await exits.enter_async_context(lane_processes())
    tools = Tools(
        database=apart,
        log=log,
        leases=PostgresLeases(apart),
        codec=codec,
        queries=QUERIES,
        lanes=min(LANES_MAX, max(2, os.cpu_count() or 1)),
        launch=lambda order: lanes.run(_assignment(settings, url, order)),
        lease_name=LEASE_NAME,
        leads=lambda: monitor.leads,
        pace=Pace(),
        shelf=Shelf(settings.archive_dir),
    )
    return Parts(
        views=PostgresViews(database),
        log=log,
        leases=PostgresLeases(database),
        codec=codec,
        monitor=monitor,
        awaited=awaited.lately,
        tools=tools,
    )


def _assignment(settings: Settings, url: str, order: LaneOrder) -> Assignment:
    directory = None if settings.archive_dir is None else str(settings.archive_dir.resolve())
    return Assignment(url, settings.statement_cache_size, order, paced=True, archive_dir=directory)


async def _keeper(settings: Settings, url: str, log: Log, exits: AsyncExitStack) -> Keeper:
    database = await exits.enter_async_context(
        connect(
            url,
            role="dcf_engine",
            size_min=0,
            size_max=1,
            statement_cache_size=settings.statement_cache_size,
            application_name="dcf log tree",
            gives_way=True,
        )
    )
    return Keeper(
        tree=PostgresTree(database),
        log=log,
        leases=PostgresLeases(database),
        keys=LogKeys.of(settings.data_dir, settings.log_keys_file),
        memory=settings.data_dir / MEMORY_NAME,
        shelf=Shelf(settings.archive_dir),
        monitor=TreeMonitor(),
        checkpoint_seconds=settings.checkpoint_seconds,
    )


def _owner(settings: Settings, url: str) -> AbstractAsyncContextManager[Database]:
    """For what no other role may do, opened for as long as it takes."""
    return connect(
        url,
        role="dcf_owner",
        size_min=0,
        size_max=1,
        statement_cache_size=settings.statement_cache_size,
        application_name="dcf housekeeping",
    )


def _database_check(database: Database) -> Check:
    async def check() -> None:
        await database.fetchval("SELECT 1")

    return check


if __name__ == "__main__":
    sys.exit(main())
