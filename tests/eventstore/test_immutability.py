"""Nobody but the owner can change what happened, and the app sees one tenant's at a time."""

from __future__ import annotations

import asyncpg
import pytest

from eventstore.database import Pool, Role, connect
from eventstore.log import Appended
from eventstore.postgres import PostgresLog
from tests.eventstore.make import OTHER_TENANT, TENANT, a_stream, an_append, an_event

TABLES = ["events", "commands", "streams", "claims", "counters", "epochs", "layout", "events_1", "commands_1"]
COLUMN = {"epochs": "epoch", "layout": "covered_to", "events": "type", "events_1": "type", "streams": "version"}


async def fill(url: str, role: Role = "dcf_app") -> None:
    async with connect(url, role=role) as pool, PostgresLog(pool, url, role=role) as log:
        for tenant_id in (TENANT, OTHER_TENANT):
            outcome = await log.append(an_append(an_event(a_stream(tenant_id)), tenant_id=tenant_id))
            assert isinstance(outcome, Appended)


@pytest.mark.parametrize("role", ["dcf_app", "dcf_engine"])
async def test_no_role_but_the_owner_can_write(database_url: str, role: Role) -> None:
    async with connect(database_url, role=role, size_max=1) as pool:
        await pool.execute("SELECT set_config('dcf.tenant', $1, false)", str(TENANT))
        for table in TABLES:
            column = COLUMN.get(table, "tenant_id")
            for statement in (
                f"INSERT INTO log.{table} DEFAULT VALUES",
                f"UPDATE log.{table} SET {column} = {column}",
                f"DELETE FROM log.{table}",
                f"TRUNCATE log.{table}",
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await pool.execute(statement)


@pytest.mark.parametrize("role", ["dcf_app", "dcf_engine"])
async def test_maintenance_is_the_owners(database_url: str, role: Role) -> None:
    async with connect(database_url, role=role, size_max=1) as pool:
        for call in ("log.cover(5)", "log.add_partition()"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await pool.execute(f"SELECT {call}")


async def test_an_append_takes_no_table_of_the_callers(database_url: str) -> None:
    """*Goal:* a SECURITY DEFINER function must not be led to other objects. *Method:* put a trap first in the path."""
    async with connect(database_url, role="dcf_engine", size_max=1) as pool:
        await pool.execute(
            "CREATE FUNCTION views.clock_timestamp() RETURNS timestamptz LANGUAGE sql RETURN NULL::timestamptz"
        )
        await pool.execute("SET search_path = views, pg_catalog")
        await pool.execute(
            "SELECT log.append_one(0, $1, $1, '', 'ok', '', $1, $1, 'sample', NULL, 1, 'a.b', 1::smallint, '', '')",
            TENANT,
        )
        assert await pool.fetchval("SELECT recorded_at FROM log.events") is not None


async def test_the_app_sees_the_tenant_that_is_set(database_url: str) -> None:
    await fill(database_url)

    async with connect(database_url, role="dcf_app", size_max=1) as app, app.transaction() as connection:
        await connection.execute("SELECT set_config('dcf.tenant', $1, true)", str(TENANT))
        for table in ("events", "commands", "streams"):
            rows = await connection.fetch(f"SELECT tenant_id FROM log.{table}")
            assert [row["tenant_id"] for row in rows] == [TENANT]


async def test_the_app_sees_nothing_silently(database_url: str) -> None:
    await fill(database_url)

    async with connect(database_url, role="dcf_app", size_max=1) as app:
        await refused_without_a_tenant(app)
        async with app.transaction() as connection:
            await connection.execute("SELECT set_config('dcf.tenant', $1, true)", str(TENANT))
        await refused_without_a_tenant(app)


async def refused_without_a_tenant(app: Pool) -> None:
    with pytest.raises((asyncpg.UndefinedObjectError, asyncpg.InvalidTextRepresentationError)):
        await app.fetch("SELECT * FROM log.events")


async def test_the_app_does_not_read_the_log_of_all(database_url: str) -> None:
    async with connect(database_url, role="dcf_app") as app:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await PostgresLog(app, database_url, role="dcf_app").read(0, limit=1)


async def test_the_engine_sees_all(database_url: str, database: Pool) -> None:
    await fill(database_url)

    assert await database.fetchval("SELECT count(DISTINCT tenant_id) FROM log.events") == 2
