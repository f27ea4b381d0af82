"""Bring a database's schema up to date."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

CONNECT_SECONDS_MAX = 10


class MigrationFailed(Exception):
    """The database is not there, or did not accept a step; nothing was changed. The message is PostgreSQL's own."""


# Alembic keeps the migration under way in module globals.
_one_at_a_time = threading.Lock()


async def migrate(url: str) -> None:
    """Apply what is missing. Several processes may do so at once; doing it again changes nothing.

    Raises MigrationFailed.
    """
    await asyncio.to_thread(upgrade, url)


def upgrade(url: str, revision: str = "head") -> None:
    """The same, blocking, up to a given revision."""
    # SQLAlchemy has its own idea of addresses; psycopg takes the same ones as asyncpg.
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(url, connect_timeout=CONNECT_SECONDS_MAX, application_name="dcf migrations"),
        poolclass=NullPool,
    )
    try:
        with _one_at_a_time, engine.connect() as connection:
            configuration = _configuration()
            configuration.attributes["connection"] = connection
            command.upgrade(configuration, revision)
            connection.commit()
    except DBAPIError as problem:
        raise MigrationFailed(str(problem.orig).strip()) from problem
    finally:
        engine.dispose()


def newest() -> str:
    """The revision an up-to-date database has."""
    head = ScriptDirectory.from_config(_configuration()).get_current_head()
    if head is None:
        raise RuntimeError("there are no migrations")
    return head


def _configuration() -> Config:
    configuration = Config()
    configuration.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return configuration
