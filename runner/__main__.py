"""`python -m runner`: carries out what was asked for, until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from random import SystemRandom

import structlog
from prometheus_client import REGISTRY

from commands.ids import new_id
from eventstore.embedded import PostgresUnavailable
from eventstore.server import once_there, postgres
from migrations.upgrade import MigrationFailed, migrate
from process import logs, ports
from process.health import Check, Health
from process.master_key import MasterKeyUnusable, former_master_keys
from process.outbound import reachable
from process.ports import AddressUnusable, PortTaken, listen_again
from process.serving import serving
from process.settings import SettingInvalid, Settings
from process.sockets import SocketDirectoryUnsafe
from projections.work import WORK_READY
from providers.catalogue import clouds
from runner.composition import Stores, make_runner
from runner.loop import LETTING_GO_SECONDS_MAX
from runner.postgres_stores import stores_on_postgres
from runner.rewrapping import wrap_anew
from runner.webhook_sender import HttpSender

# Once all is handed over: what is open closes by itself when the process ends.
CLOSING_SECONDS_MAX = 0.4


def main() -> int:
    """Run until SIGTERM; 1 when it cannot be started."""
    try:
        settings = Settings.from_environment(os.environ)
        logs.set_up("runner", style=settings.log_format, level=settings.log_level)
        gone_seconds_max = settings.stop_seconds_max + LETTING_GO_SECONDS_MAX + CLOSING_SECONDS_MAX
        asyncio.run(once_there(settings, partial(_run, settings), gone_seconds_max=gone_seconds_max))
    except (
        SettingInvalid,
        PortTaken,
        AddressUnusable,
        PostgresUnavailable,
        SocketDirectoryUnsafe,
        MasterKeyUnusable,
        MigrationFailed,
    ) as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    return 0


async def _run(settings: Settings, stop: asyncio.Event) -> None:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    port = listen_again(
        settings.host,
        settings.runner_port,
        variable="DCF_RUNNER_PORT",
        name="runner",
        data_dir=settings.data_dir,
    )
    async with postgres(settings) as url, AsyncExitStack() as exits:
        await migrate(url)
        stores = await stores_on_postgres(settings, url, exits)
        offered = clouds(
            settings, public_url=lambda: _public_url(settings), functions_url=lambda: _functions_url(settings)
        )
        exits.push_async_callback(offered.close)
        if stores.ring is not None or former_master_keys(settings):
            await wrap_anew(stores.secrets, stores.sealing, stores.ring, now=_now())
        sender = HttpSender(reachable(settings.webhook_networks))
        await exits.enter_async_context(sender)
        runner = make_runner(
            stores,
            dict(offered.providers.items()),
            clock=_now,
            random=SystemRandom(),
            new_id=new_id,
            registry=REGISTRY,
            sender=sender,
            deployments_max=settings.runner_deployments_max,
            drift_seconds=settings.drift_seconds,
            retention_seconds=settings.retention_seconds,
        )
        await exits.enter_async_context(serving(Health(_checks(stores)), port, drain_seconds=1))
        structlog.get_logger().info("runner_ready", health_port=port.getsockname()[1])
        await runner.run(stop, stop_seconds_max=settings.stop_seconds_max)


def _checks(stores: Stores) -> dict[str, Check]:
    async def check_log() -> None:
        await stores.log.head()

    async def check_work() -> None:
        await stores.reader.rows(WORK_READY, None, 1)

    return {"log": check_log, "work": check_work}


def _public_url(settings: Settings) -> str:
    """Where the API publishes the keys of our tokens."""
    if settings.public_url is not None:
        return settings.public_url.rstrip("/")
    return f"http://{settings.host}:{ports.recorded(settings.data_dir).get('api', settings.port)}"


def _functions_url(settings: Settings) -> str:
    """Where callers reach the functions of this machine; the API writes its port down when it has one."""
    if settings.functions_url is not None:
        return settings.functions_url.rstrip("/")
    return f"http://{settings.host}:{ports.recorded(settings.data_dir).get('functions', settings.functions_port)}"


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    sys.exit(main())
