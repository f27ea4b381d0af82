"""The steps bring any database to the same schema."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import asyncpg
import pytest

from eventstore.database import connect
from migrations.upgrade import migrate, newest


class TestMigrate:
    async def test_applies_all_steps_to_an_empty_database(self, empty_database_url: str) -> None:
        await migrate(empty_database_url)

        async with connect(empty_database_url, role="dcf_app") as database:
            assert await database.fetchval("SELECT version_num FROM alembic_version") == newest()

    async def test_changes_nothing_the_second_time(self, database_url: str) -> None:
        await migrate(database_url)

        async with connect(database_url, role="dcf_app") as database:
            assert await database.fetchval("SELECT array_agg(version_num) FROM alembic_version") == [newest()]

    async def test_may_be_asked_by_several_at_once(self, empty_database_url: str) -> None:
        await asyncio.gather(*(migrate(empty_database_url) for _ in range(3)))

        async with connect(empty_database_url, role="dcf_app") as database:
            assert await database.fetchval("SELECT version_num FROM alembic_version") == newest()

    async def test_leaves_nothing_to_the_user_that_ran_them(self, database_url: str) -> None:
        async with connect(database_url, role="dcf_app") as database:
            strangers = await database.fetch("""
                SELECT n.nspname, c.relname
                  FROM pg_class c
                  JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname IN ('log', 'views', 'work', 'vault') AND c.relowner NOT IN ('dcf_owner'::regrole, 'dcf_engine'::regrole)
            """)

        assert strangers == []

    async def test_gives_every_row_a_tenant(self, database_url: str) -> None:
        async with connect(database_url, role="dcf_owner") as database:
            unsecured = await database.fetch("""
                SELECT n.nspname || '.' || c.relname AS name
                  FROM pg_class c
                  JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname IN ('log', 'views', 'work', 'vault') AND c.relkind IN ('r', 'p') AND c.relrowsecurity
                   AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id')
            """)

        assert unsecured == []


class TestRoles:
    @pytest.mark.parametrize("role", ["dcf_owner", "dcf_app", "dcf_engine"])
    async def test_nobody_logs_in_as_one(self, database_url: str, role: str) -> None:
        connection = await asyncpg.connect(database_url)
        try:
            assert await connection.fetchval("SELECT rolcanlogin FROM pg_roles WHERE rolname = $1", role) is False
        finally:
            await connection.close()

    async def test_the_app_makes_no_tables(self, database_url: str) -> None:
        async with connect(database_url, role="dcf_app") as database:
            for schema in ("log", "views", "work", "vault", "public"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await database.execute(f"CREATE TABLE {schema}.mine_{uuid4().hex} (id integer)")

    async def test_the_engine_makes_views_and_nothing_else(self, database_url: str) -> None:
        async with connect(database_url, role="dcf_engine") as database:
            await database.execute("CREATE TABLE views.mine (id integer)")
            for schema in ("log", "work", "vault", "public"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await database.execute(f"CREATE TABLE {schema}.mine (id integer)")
