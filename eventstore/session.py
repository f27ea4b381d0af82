"""A session of the log's own, outside every pool: for the appender, and for LISTEN."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import asyncpg

from eventstore.database import CONNECT_SECONDS_MAX, STATEMENT_SECONDS_MAX, Role

Session = asyncpg.Connection
OpenSession = Callable[[], Awaitable[Session]]

# What asyncpg raises where the server takes a session away, or does not give one yet. In the middle of an answer it may call
# it an error of its own (InternalClientError).
CUT = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.StatementCompletionUnknownError,
)
# The session is gone, or was never there. What it was doing may have happened.
LOST = (OSError, TimeoutError, *CUT)
# It did not happen, and may well happen when tried again.
HINDERED = (
    asyncpg.TransactionRollbackError,
    asyncpg.InsufficientResourcesError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.ReadOnlySQLTransactionError,
)


def sessions(url: str, *, role: Role, statement_cache_size: int = 100) -> OpenSession:
    """Opens a session that acts as `role`, each time it is called. Raises one of LOST or HINDERED."""

    async def open_session() -> Session:
        return await asyncpg.connect(
            url,
            timeout=CONNECT_SECONDS_MAX,
            command_timeout=STATEMENT_SECONDS_MAX,
            statement_cache_size=statement_cache_size,
            server_settings={"role": role, "application_name": "dcf log"},
        )

    return open_session
