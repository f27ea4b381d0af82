"""The stores of a runner on PostgreSQL."""

from __future__ import annotations

from contextlib import AsyncExitStack

from eventstore.build_logs import PostgresBuildLogs
from eventstore.closed_values import person_sealing, secret_vault
from eventstore.contents import PostgresContents
from eventstore.database import Role, connect
from eventstore.leases import PostgresLeases
from eventstore.postgres import PostgresLog
from eventstore.session import sessions
from eventstore.ticks import PostgresTicks
from eventstore.webhook_deliveries import PostgresDeliveries
from eventstore.wrapped_keys import PostgresWrappedKeys
from process.settings import Settings
from projections.postgres_reader import PostgresReader
from providers.key_services.catalogue import key_ring
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
    ring = key_ring(settings, PostgresWrappedKeys(database))
    if ring is not None:
        exits.push_async_callback(ring.close)
    return Stores(
        log=log,
        reader=reader,
        leases=PostgresLeases(for_leases),
        contents=PostgresContents(database),
        build_logs=PostgresBuildLogs(for_build_logs),
        secrets=secret_vault(settings, database, ring),
        sealing=person_sealing(settings, database, ring),
        ring=ring,
        ticks=PostgresTicks(database),
        deliveries=PostgresDeliveries(database),
    )
