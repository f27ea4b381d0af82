"""Nobody but the owner can change what happened, and the app sees one tenant's at a time."""

from __future__ import annotations

import re

import asyncpg
import pytest

from eventstore.canonical import encode_canonical
from eventstore.database import Pool, Role, connect
from eventstore.log import Appended, StoredEvent
from eventstore.postgres import PostgresLog
from tests.eventstore.make import OTHER_TENANT, TENANT, a_stream, an_append, an_event

TABLES = ["events", "commands", "streams", "claims", "counters", "epochs", "layout", "events_1", "commands_1"]
TABLES += ["tree", "checkpoints"]
COLUMN = {"epochs": "epoch", "layout": "covered_to", "events": "type", "events_1": "type", "streams": "version"}
COLUMN |= {"tree": "hashes", "checkpoints": "note"}


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


# What might be tried against the log, or any partition of it.
_ATTACKS = (
    "UPDATE {table} SET data = ''",
    "UPDATE ONLY {table} SET recorded_at = now()",
    "DELETE FROM {table}",
    "DELETE FROM ONLY {table}",
    "TRUNCATE {table}",
    "MERGE INTO {table} e USING (VALUES (1)) v (n) ON e.position = v.n WHEN MATCHED THEN DELETE",
    "INSERT INTO {table} SELECT e.* FROM {table} e",
    "SELECT * FROM {table} FOR UPDATE",
    "DO 'BEGIN LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE; END'",
    "ALTER TABLE {table} ADD COLUMN more text",
    "ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE {table} OWNER TO {role}",
    "DROP TABLE {table} CASCADE",
    "CREATE TRIGGER turn BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE RULE none AS ON SELECT TO {table} DO INSTEAD NOTHING",
    "CREATE POLICY all_of_it ON {table} USING (true)",
)
_ATTACKS_ON_PARTITIONS = (
    "ALTER TABLE log.events DETACH PARTITION {table}",
    "CREATE TABLE views.mine PARTITION OF log.events FOR VALUES FROM (900000001) TO (900000002)",
)
_PARTITIONS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'log.events'::regclass"

# Everything they may call that works with the owner's rights.
_DEFINED_BY_THE_OWNER = """
    SELECT p.oid::regproc::text AS name, pg_get_functiondef(p.oid) AS text
      FROM pg_proc p
     WHERE p.prosecdef AND has_function_privilege($1, p.oid, 'EXECUTE')
"""
_RIGHTS = """
    SELECT c.oid::regclass::text || ' ' || r.name
      FROM pg_class c
     CROSS JOIN unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'REFERENCES']) r (name)
     WHERE c.relnamespace = 'log'::regnamespace AND c.relkind IN ('r', 'p') AND has_table_privilege($1, c.oid, r.name)
"""


async def content(owner: Pool) -> list[bytes]:
    """Every event there is, as it is hashed."""
    rows = await owner.fetch(
        "SELECT position, tenant_id, stream_id, version, type, schema_version, recorded_at, meta, data"
        " FROM log.events ORDER BY position"
    )
    return [encode_canonical(StoredEvent(*row)) for row in rows]


async def succeeds(pool: Pool, attack: str) -> bool:
    """Whether it is not refused for want of rights."""
    try:
        await pool.execute(attack)
    except asyncpg.InsufficientPrivilegeError:
        return False
    return True


@pytest.mark.parametrize("role", ["dcf_app", "dcf_engine"])
async def test_whatever_is_tried_every_event_stays_as_it_is(database_url: str, owner: Pool, role: Role) -> None:
    """Against the log itself, and against each partition by its own name."""
    await fill(database_url)
    before = await content(owner)
    partitions = [name for (name,) in await owner.fetch(_PARTITIONS)]
    attacks = [attack.format(table=table, role=role) for table in ["log.events", *partitions] for attack in _ATTACKS]
    attacks += [attack.format(table=table) for table in partitions for attack in _ATTACKS_ON_PARTITIONS]

    async with connect(database_url, role=role, size_max=1) as pool:
        await pool.execute("SELECT set_config('dcf.tenant', $1, false)", str(TENANT))
        await pool.execute(f"GRANT ALL ON log.events TO {role}")  # PostgreSQL warns that it gave nothing.
        succeeded = [attack for attack in attacks if await succeeds(pool, attack)]

    assert succeeded == []
    assert await content(owner) == before
    assert len(before) == 2


@pytest.mark.parametrize("role", ["dcf_app", "dcf_engine"])
async def test_no_table_of_the_log_can_be_written_past_its_functions(owner: Pool, role: Role) -> None:
    """Partitions that are made later have no other rights than those made first."""
    await owner.execute("SELECT log.cover(3000000)")

    assert await owner.fetch(_RIGHTS, role) == []
    assert not await owner.fetchval("SELECT pg_has_role($1, 'dcf_owner', 'MEMBER')", role)


@pytest.mark.parametrize("role", ["dcf_app", "dcf_engine"])
async def test_nothing_they_may_call_changes_or_removes_an_event(owner: Pool, role: Role) -> None:
    """*Method:* the text of each function that works with the owner's rights: what it does to events is adding some."""
    functions = {row["name"]: row["text"] for row in await owner.fetch(_DEFINED_BY_THE_OWNER, role)}

    assert {"log.append_batch", "log.append_one", "log.load"} <= functions.keys()
    for name, text in functions.items():
        changed = set(
            re.findall(r"(?:UPDATE|DELETE\s+FROM|TRUNCATE(?:\s+TABLE)?|MERGE\s+INTO)\s+([\w.]+)", text, re.IGNORECASE)
        )
        assert "log.events" not in changed, name
        assert not any(table.startswith("log.events_") for table in changed), name
        # What is put together at run time could be anything.
        assert not re.search(r"\bEXECUTE\b", text), name


@pytest.mark.parametrize("role", ["dcf_app", "dcf_engine"])
async def test_an_append_puts_nothing_in_the_place_of_another(database_url: str, owner: Pool, role: Role) -> None:
    """What stands at a version stays there, whoever appends to it again."""
    stream = a_stream()
    async with connect(database_url, role=role) as pool, PostgresLog(pool, database_url, role=role) as log:
        await log.append(an_append(an_event(stream, data=b"first")))
        before = await content(owner)

        again = [an_append(an_event(stream, version, data=b"second")) for version in (1, 0, 3)]
        outcomes = [await log.append(append) for append in again]

    assert not any(isinstance(outcome, Appended) for outcome in outcomes)
    assert await content(owner) == before


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
