"""The steps bring any database to the same schema."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import make_url

from eventstore.database import connect
from migrations.upgrade import LOCK, DatabaseUnreachable, MigrationFailed, migrate, newest, upgrade

# The sessions of this database that wait for a lock.
_END_WHO_WAITS = """
    SELECT bool_or(pg_terminate_backend(pid))
      FROM pg_stat_activity
     WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name = 'dcf migrations'
"""


class TestMigrate:
    async def test_applies_all_steps_to_an_empty_database(self, empty_database_url: str) -> None:
        await migrate(empty_database_url)

        async with connect(empty_database_url, role="dcf_app") as database:
            assert await database.fetchval("SELECT version_num FROM alembic_version") == newest()

    async def test_changes_nothing_the_second_time(self, database_url: str) -> None:
        await migrate(database_url)

        async with connect(database_url, role="dcf_app") as database:
            assert await database.fetchval("SELECT array_agg(version_num) FROM alembic_version") == [newest()]

    def test_knows_the_newest_step_as_the_steps_say_themselves(self) -> None:
        configuration = Config()
        configuration.set_main_option("script_location", str(Path(upgrade.__code__.co_filename).parent))

        assert ScriptDirectory.from_config(configuration).get_heads() == [newest()]

    async def test_says_why_when_nobody_answers(self) -> None:
        with pytest.raises(MigrationFailed, match=r"refused|failed"):
            await migrate("postgresql://nobody@127.0.0.1:1/nothing")

    async def test_knows_a_server_that_ends_before_it_is_asked_anything(self) -> None:
        """The driver may call what the server says then an error of its own."""
        async with _ending(at_once=False) as soon, _ending(at_once=True) as at_once:
            for url in (soon, at_once):
                with pytest.raises(DatabaseUnreachable, match=r"shutting down|closed"):
                    await migrate(url)

    async def test_tells_a_server_that_goes_away_from_a_step_that_fails(self, empty_database_url: str) -> None:
        """
        Goal: who waits for a server of their own can know that another try may help.
        Method: nobody answers; and the session is ended, as by a server that stops, once it is there.
        """
        with pytest.raises(DatabaseUnreachable):
            upgrade("postgresql://nobody@127.0.0.1:1/nothing")
        connection = await asyncpg.connect(empty_database_url)
        try:
            await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
            applied = asyncio.create_task(asyncio.to_thread(upgrade, empty_database_url))
            async with asyncio.timeout(60):
                while not await connection.fetchval(_END_WHO_WAITS):
                    await asyncio.sleep(0.02)
            with pytest.raises(DatabaseUnreachable):
                await applied
        finally:
            await connection.close()

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


class TestAUserOfOneRole:
    """Each process can be given a database user of its own, a member of only what it acts as."""

    async def test_starts_once_the_schema_is_there_and_cannot_act_as_another(self, database_url: str) -> None:
        async with _user_of("dcf_app", database_url) as url:
            await migrate(url)

            async with connect(url, role="dcf_app") as database:
                assert await database.fetchval("SELECT current_user") == "dcf_app"
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await database.execute("SET ROLE dcf_engine")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with connect(url, role="dcf_engine"):
                    pass

    async def test_is_told_who_is_to_start_first_when_steps_are_missing(self, empty_database_url: str) -> None:
        await asyncio.to_thread(upgrade, empty_database_url, "0019")

        async with _user_of("dcf_app", empty_database_url) as url:
            with pytest.raises(MigrationFailed, match=r"revision 0019, .* first start `python -m projections`"):
                await migrate(url)


@asynccontextmanager
async def _user_of(role: str, url: str) -> AsyncIterator[str]:
    """The address of the same database for a new user, a member of that role and of no other."""
    name = f"user_{uuid4().hex}"
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"CREATE ROLE {name} LOGIN IN ROLE {role}")
        try:
            yield make_url(url).set(username=name).render_as_string(hide_password=False)
        finally:
            await connection.execute(f"DROP ROLE {name}")
    finally:
        await connection.close()


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


@asynccontextmanager
async def _ending(*, at_once: bool) -> AsyncIterator[str]:
    """A server that lets anybody in, and ends, as PostgreSQL does when it is told to: before it is asked, or then."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(4))
        if await reader.readexactly(size - 4) == _WANTS_TLS:
            writer.write(b"N")
            size = int.from_bytes(await reader.readexactly(4))
            await reader.readexactly(size - 4)
        writer.write(_LET_IN)
        if at_once:
            writer.write(_ENDED)
        else:
            await reader.read(1)
            writer.write(_ENDED)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"postgresql://anybody@127.0.0.1:{server.sockets[0].getsockname()[1]}/any"


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4) + body


# PostgreSQL's protocol, version 3: https://www.postgresql.org/docs/18/protocol-message-formats.html
_WANTS_TLS = (80_877_103).to_bytes(4)
_LET_IN = (
    _message(b"R", (0).to_bytes(4))
    + _message(b"S", b"server_version\x0018.0\x00")
    + _message(b"K", (1).to_bytes(4) + (2).to_bytes(4))
    + _message(b"Z", b"I")
)
_ENDED = _message(b"E", b"SFATAL\x00VFATAL\x00C57P01\x00Mthe database system is shutting down\x00\x00")
