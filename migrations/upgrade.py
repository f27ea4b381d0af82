"""Bring a database's schema up to date."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import asyncpg

from eventstore.session import LOST

CONNECT_SECONDS_MAX = 10
# Of the one process that applies steps: any number, the same for ever.
LOCK = 7_305_441_210_001
_STEPS = Path(__file__).parent / "versions"
_REVISION = "SELECT version_num FROM alembic_version"


class MigrationFailed(Exception):
    """The database is not there, or did not accept a step; nothing was changed. The message is PostgreSQL's own."""


class DatabaseUnreachable(MigrationFailed, ConnectionError):
    """Nobody answers, or who answered went away: another try may find the server there."""


# Alembic keeps the migration under way in module globals.
_one_at_a_time = threading.Lock()


async def migrate(url: str) -> None:
    """Apply what is missing. Several processes may do so at once; doing it again changes nothing.

    Raises MigrationFailed, or asyncpg.CannotConnectNowError while the server is starting, recovering or ending.
    """
    # Nearly always nothing is: then what applies steps, a fifth of what a process loads, is not even loaded.
    if await _revision(url) == newest():
        return
    try:
        await asyncio.to_thread(upgrade, url)
    except DatabaseUnreachable:
        if await _revision(url) != newest():  # It may have begun to start, and say so, or to answer.
            raise


async def _revision(url: str) -> str | None:
    """The revision the schema is at; None when there is none, or nobody can say. Raises asyncpg.CannotConnectNowError."""
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS_MAX, statement_cache_size=0)
    except asyncpg.CannotConnectNowError:
        raise
    except (*LOST, asyncpg.PostgresError):
        return None  # Who applies the steps says why.
    try:
        found: str | None = await connection.fetchval(_REVISION)
        await connection.close()
    except (*LOST, asyncpg.PostgresError):
        return None
    finally:
        connection.terminate()
    return found


def upgrade(url: str, revision: str = "head") -> None:
    """The same, blocking, up to a given revision. Raises MigrationFailed."""
    import psycopg
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import NullPool

    configuration = Config()
    configuration.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    # SQLAlchemy has its own idea of addresses; psycopg takes the same ones as asyncpg.
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(url, connect_timeout=CONNECT_SECONDS_MAX, application_name="dcf migrations"),
        poolclass=NullPool,
    )
    there = False
    try:
        with _one_at_a_time, engine.connect() as connection:
            there = True
            configuration.attributes["connection"] = connection
            command.upgrade(configuration, revision)
            connection.commit()
    except DBAPIError as problem:
        lost = not there or problem.connection_invalidated
        raise (DatabaseUnreachable if lost else MigrationFailed)(str(problem.orig).strip()) from problem
    finally:
        engine.dispose()


def newest() -> str:
    """The revision an up-to-date database has: its steps are numbered, each following the one before."""
    return max(path.stem for path in _STEPS.glob("[0-9]*.py"))[:4]
