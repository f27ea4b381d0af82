"""`python -m api`: the API and the functions' origin, on a port each."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial

import httpx
import structlog
import uvloop

from api.access_log import Note, note_as_json, note_in_log, note_nothing
from api.app import create_app
from api.auth import Authenticator
from api.cross_origin import origins
from api.exposure import FirstKeysExposed, has_tenant, require_guarded
from api.first_start import announce, make_first_start
from api.functions_origin import FunctionsOrigin
from api.id_tokens import IdTokens
from api.issuer_keys import FETCH_SECONDS_MAX
from api.rate_limits import RateLimits
from api.refusal_cap import RefusalCap
from api.services import Services
from api.sign_in import Newcomers, SignIn
from api.tokens import Tokens
from api.trusted_issuers import trusted_issuers
from commands.ids import new_id
from eventstore.archive.whole import Shelf
from eventstore.build_logs import PostgresBuildLogs
from eventstore.closed_values import person_sealing, secret_vault
from eventstore.contents import PostgresContents
from eventstore.database import Database, connect
from eventstore.embedded import PostgresUnavailable
from eventstore.instants import PostgresInstants
from eventstore.key_uses import PostgresKeyUses
from eventstore.log import Log
from eventstore.postgres import PostgresLog
from eventstore.sealing import Sealing
from eventstore.server import once_there, postgres
from eventstore.session import sessions
from eventstore.tenant_events import PostgresTenantEvents
from eventstore.ticks import PostgresTicks
from eventstore.tree.tree import PostgresTree
from eventstore.uploads import PostgresUploads
from eventstore.webhook_deliveries import PostgresDeliveries
from eventstore.wrapped_keys import PostgresWrappedKeys
from migrations.upgrade import MigrationFailed, migrate
from process import logs, ports
from process.health import Check
from process.key_ring import KeyRing
from process.key_service import KeyServiceUnusable
from process.master_key import MasterKeyUnusable
from process.outbound import reachable
from process.ports import AddressUnusable, PortTaken, listen_again
from process.serving import serving
from process.settings import SettingInvalid, Settings
from process.sockets import SocketDirectoryUnsafe
from process.stopping import GONE_SECONDS_MAX
from projections.postgres_reader import PostgresReader
from projections.reader import Reader
from projections.upkeep import PostgresUpkeep
from providers.catalogue import Clouds, clouds
from providers.key_services.catalogue import key_ring
from providers.local.client import Functions

# Answers leave hardly any cycles behind, so these need not be looked for as often as Python does by itself.
GARBAGE_OBJECTS = 20_000

# How far behind the log the read models may be before the API says it is not ready.
LAG_SECONDS_MAX = 2.0


class ReadModelsBehind(Exception):
    """The read models have not reached the end of the log. The message says what keeps them up."""


def main() -> int:
    """Run until SIGTERM; 1 when it cannot be started."""
    try:
        settings = Settings.from_environment(os.environ)
        logs.set_up("api", style=settings.log_format, level=settings.log_level)
        uvloop.run(once_there(settings, partial(_run, settings), gone_seconds_max=GONE_SECONDS_MAX))
    except (
        AddressUnusable,
        FirstKeysExposed,
        KeyServiceUnusable,
        MasterKeyUnusable,
        MigrationFailed,
        PortTaken,
        PostgresUnavailable,
        SettingInvalid,
        SocketDirectoryUnsafe,
    ) as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    return 0


async def _run(settings: Settings, stop: asyncio.Event) -> None:
    allowed = origins(settings.cors_origins)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    port = listen_again(settings.host, settings.port, variable="DCF_PORT", name="api", data_dir=settings.data_dir)
    functions_port = listen_again(
        settings.host,
        settings.functions_port,
        variable="DCF_FUNCTIONS_PORT",
        name="functions",
        data_dir=settings.data_dir,
    )
    async with AsyncExitStack() as exits:
        url = await exits.enter_async_context(postgres(settings))
        await migrate(url)
        database = await exits.enter_async_context(_pool(settings, url))
        log = await exits.enter_async_context(_log(settings, url, database))
        reader = await exits.enter_async_context(_reader(settings, url, database))
        ring = key_ring(settings, PostgresWrappedKeys(database))
        if ring is not None:
            exits.push_async_callback(ring.close)
        sealing = person_sealing(settings, database, ring)
        await _first_start(settings, log, sealing)
        offered = clouds(
            settings, public_url=lambda: public_url(settings), functions_url=lambda: functions_url(settings)
        )
        exits.push_async_callback(offered.close)
        authenticator = Authenticator(
            reader,
            log,
            PostgresKeyUses(database),
            _now,
            sign_in=await exits.enter_async_context(_sign_in(settings, log, reader, sealing)),
        )
        services = _services(settings, log, reader, database, offered, authenticator, sealing, ring)
        app = create_app(services, _checks(log, reader, database), _note(settings), origins=allowed)
        origin = FunctionsOrigin(Functions(offered.agent), services.authenticator)
        drain = await exits.enter_async_context(serving(app, port))
        await exits.enter_async_context(serving(origin, functions_port))
        exits.callback(drain)
        # Before the server waits for its answers to end: streams do not end by themselves.
        exits.callback(app.streams.close)
        structlog.get_logger().info(
            "api_ready", port=port.getsockname()[1], functions_port=functions_port.getsockname()[1]
        )
        _spare_the_garbage()
        await stop.wait()


def _spare_the_garbage() -> None:
    """What is there now stays to the end: looking through all of it again and again would cost a tenth of every answer."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS)


def _pool(settings: Settings, url: str) -> AbstractAsyncContextManager[Database]:
    return connect(
        url,
        role="dcf_app",
        size_max=settings.pool_size_max,
        statement_cache_size=settings.statement_cache_size,
        application_name="dcf api",
    )


def _log(settings: Settings, url: str, database: Database) -> PostgresLog:
    return PostgresLog(
        database,
        url,
        role="dcf_app",
        listen_url=_direct_url(settings),
        statement_cache_size=settings.statement_cache_size,
    )


def _reader(settings: Settings, url: str, database: Database) -> PostgresReader:
    return PostgresReader(database, sessions(_direct_url(settings) or url, role="dcf_app"))


def _direct_url(settings: Settings) -> str | None:
    """Where LISTEN works when the address of the database leads through a pooler."""
    return settings.database_direct_url.reveal() if settings.database_direct_url else None


async def _first_start(settings: Settings, log: Log, sealing: Sealing) -> None:
    await require_guarded(settings, log)
    made = await make_first_start(log, sealing, settings.data_dir, _now(), with_tenant=has_tenant(settings))
    announce(made, settings.data_dir)


@asynccontextmanager
async def _sign_in(settings: Settings, log: Log, reader: Reader, sealing: Sealing) -> AsyncIterator[SignIn | None]:
    """How people sign in; None where no issuer is named. Raises SettingInvalid."""
    issuers = trusted_issuers(settings.sign_in_issuers)
    if not issuers:
        yield None
        return
    # Neither redirects nor proxies of the environment: keys come from the address the operator trusts.
    async with httpx.AsyncClient(timeout=FETCH_SECONDS_MAX, follow_redirects=False, trust_env=False) as http:
        yield SignIn(
            IdTokens(issuers, http, clock=_now),
            log,
            reader,
            sealing,
            newcomers=Newcomers(first=settings.first_sign_in, plan=settings.sign_up_plan),
            clock=_now,
            new_id=new_id,
        )


def _services(
    settings: Settings,
    log: Log,
    reader: Reader,
    database: Database,
    offered: Clouds,
    authenticator: Authenticator,
    sealing: Sealing,
    ring: KeyRing | None,
) -> Services:
    key_uses = PostgresKeyUses(database)
    return Services(
        log=log,
        instants=PostgresInstants(database),
        tenant_events=PostgresTenantEvents(database, Shelf(settings.archive_dir)),
        tree=PostgresTree(database),
        reader=reader,
        upkeep=PostgresUpkeep(database),
        contents=PostgresContents(database),
        uploads=PostgresUploads(database),
        build_logs=PostgresBuildLogs(database),
        ticks=PostgresTicks(database),
        deliveries=PostgresDeliveries(database),
        reachable=reachable(settings.webhook_networks),
        key_uses=key_uses,
        sealing=sealing,
        secrets=secret_vault(settings, database, ring),
        ring=ring,
        providers=offered.providers,
        token_source=offered.token_source,
        public_url=lambda: public_url(settings),
        authenticator=authenticator,
        tokens=Tokens(log),
        refusal_cap=RefusalCap(),
        rate_limits=RateLimits(reader),
        clock=_now,
        new_id=new_id,
        request_bytes_max=settings.request_bytes_max,
        upload_bytes_max=settings.upload_bytes_max,
        wait_seconds_max=settings.wait_seconds_max,
    )


def _checks(log: Log, reader: Reader, database: Database) -> Mapping[str, Check]:
    async def check_database() -> None:
        await database.fetchval("SELECT 1")

    async def check_log() -> None:
        await log.head()

    async def check_projections() -> None:
        if not await reader.wait_for(await log.head(), seconds_max=LAG_SECONDS_MAX):
            raise ReadModelsBehind("the read models are behind the log; see that `python -m projections` runs")

    return {"database": check_database, "log": check_log, "projections": check_projections}


def public_url(settings: Settings) -> str:
    """Where clients, and the clouds that fetch our keys, reach this API."""
    if settings.public_url is not None:
        return settings.public_url.rstrip("/")
    return f"http://{settings.host}:{ports.recorded(settings.data_dir)['api']}"


def functions_url(settings: Settings) -> str:
    """Where callers reach the functions of this machine."""
    if settings.functions_url is not None:
        return settings.functions_url.rstrip("/")
    return f"http://{settings.host}:{ports.recorded(settings.data_dir)['functions']}"


def _note(settings: Settings) -> Note:
    """How answered requests are logged, in the style and from the level on that `process.logs` was given."""
    if settings.log_level in ("warning", "error"):
        return note_nothing
    as_text = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
    return note_in_log if as_text else note_as_json(sys.stderr.buffer)


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    sys.exit(main())
