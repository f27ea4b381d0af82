"""The stores of a runner on PostgreSQL."""

from __future__ import annotations

from contextlib import AsyncExitStack

from eventstore.build_logs import PostgresBuildLogs
from eventstore.contents import PostgresContents
from eventstore.database import Database, Role, connect
from eventstore.leases import PostgresLeases
from eventstore.postgres import PostgresLog
from eventstore.sealing import PostgresPersonKeys, Sealing
from eventstore.secret_values import PostgresSecretStore, SecretVault
from eventstore.session import sessions
from eventstore.ticks import PostgresTicks
from eventstore.webhook_deliveries import PostgresDeliveries
from process.master_key import former_master_keys, key_for, master_key
from process.settings import Settings
from projections.postgres_reader import PostgresReader
from runner.composition import Stores

BUILD_LOG_SESSIONS_MAX = 3

_ROLE: Role = "dcf_engine"


async def stores_on_postgres(settings: Settings, url: str, exits: AsyncExitStack) -> Stores:
    """Open until `exits` closes."""
    cache = settings.statement_cache_size
    database = await exits.enter_async_context(
        connect(
            url,
            role=_ROLE,
            size_max=settings.pool_size_max,
            statement_cache_size=cache,
            application_name="dcf runner",
        )
    )
    # What keeps a runner's work its own never queues behind that work.
    for_leases = await exits.enter_async_context(
        connect(url, role=_ROLE, size_max=2, statement_cache_size=cache, application_name="dcf runner leases")
    )
    # What builds say comes in thousands of pieces, and may be a little late; nothing else waits behind it.
    for_build_logs = await exits.enter_async_context(
        connect(
            url,
            role=_ROLE,
            size_max=min(BUILD_LOG_SESSIONS_MAX, settings.pool_size_max),
            statement_cache_size=cache,
            application_name="dcf runner build logs",
        )
    )
    listen_url = settings.database_direct_url.reveal() if settings.database_direct_url else None
    log = PostgresLog(database, url, role=_ROLE, listen_url=listen_url, statement_cache_size=cache)
    await exits.enter_async_context(log)
    reader = PostgresReader(database, sessions(listen_url or url, role=_ROLE))
    await exits.enter_async_context(reader)
    return Stores(
        log=log,
        reader=reader,
        leases=PostgresLeases(for_leases),
        contents=PostgresContents(database),
        build_logs=PostgresBuildLogs(for_build_logs),
        secrets=_secrets(settings, database),
        sealing=_sealing(settings, database),
        ticks=PostgresTicks(database),
        deliveries=PostgresDeliveries(database),
    )


def _secrets(settings: Settings, database: Database) -> SecretVault:
    former = [key_for(key, "function-secrets") for key in former_master_keys(settings)]
    key = key_for(master_key(settings), "function-secrets")
    return SecretVault(PostgresSecretStore(database), key=key, former=former)


def _sealing(settings: Settings, database: Database) -> Sealing:
    former = [key_for(key, "person-keys") for key in former_master_keys(settings)]
    key = key_for(master_key(settings), "person-keys")
    return Sealing(PostgresPersonKeys(database), key_encryption_key=key, former=former)
