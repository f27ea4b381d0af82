"""The tables of read models, one for each version, and the functions that ask them: made by the engine when it starts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

import asyncpg

from eventstore.database import Connection, Database, Queries
from projections.active import Served, activate_if_none, active_versions
from projections.pace import Pace
from projections.query import AnyQuery
from projections.read_model import AnyModel, Index
from projections.row_changes import LINE_CODE
from projections.side_by_side import side_by_side

# Two engines that start at once take turns; any number, the same for ever.
_LOCK = 7_305_441_210_003

_EXISTS = "SELECT to_regclass($1) IS NOT NULL"
_FUNCTION_EXISTS = """
    SELECT EXISTS (SELECT FROM pg_proc WHERE pronamespace = 'views'::regnamespace AND proname = $1)
"""
_BEGIN_CHECKPOINT = """
    INSERT INTO views.checkpoints (kind, model, version, build, position)
    VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (kind) DO NOTHING
"""

# A version in the history stood from `valid_from` up to, but not including, `valid_to`; the one that still stands is the
# row itself, so a change adds one row to the history and touches none. Most are kept as what has changed since.
_TENANT = "nullif(current_setting('dcf.tenant', true), '')::uuid"
_POSITION_MAX = 2**63 - 1
# Columns that every table has, before the model's own.
COMMON_COLUMNS = ("tenant_id", "id", "first_position", "position")


async def install(database: Database, models: Sequence[AnyModel], queries: Iterable[AnyQuery]) -> None:
    """Make what is missing: tables, the functions of queries, checkpoints. Doing it again changes nothing.

    A model that has no version in use yet is served from its present one at once, empty or not.
    """
    async with database.transaction() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        for model in models:
            await _install_model(connection, model)
        active = await active_versions(connection)
        builds = {model.name: Served(model.version, model.build) for model in models}
        for query in queries:
            name = query.model.name
            if name in builds:
                await _install_query(connection, query, builds[name])
            if name in active and active[name] != builds.get(name):
                await _install_for_older(connection, query, active[name])


async def begin_table(queries: Queries, model: AnyModel) -> None:
    """Make the model's table, bare of everything that slows filling it. Doing it again changes nothing."""
    if not await table_exists(queries, model.kind):
        with suppress(asyncpg.DuplicateTableError):  # Another made it since.
            await queries.execute(_alone(model.kind) + _bare_sql(model))


async def finish_table(database: Database, model: AnyModel, *, seconds_max: float, pace: Pace | None = None) -> None:
    """Give a filled table what reading it needs: indexes, the view of all versions, statistics. Doing it again changes
    nothing. The history, which has most of it all, is seen to in a session of its own."""

    async def finish(table: str, statements: Sequence[str]) -> None:
        for statement in (*statements, f"ANALYZE views.{table}"):
            began = time.monotonic()
            await database.execute(_alone(table) + statement, timeout=seconds_max)
            if pace is not None:
                await pace.rest(time.monotonic() - began)

    parts = [finish(model.kind, [_index_sql(model, index) for index in model.indexes])]
    if model.keeps_history:
        parts.append(finish(f"{model.kind}_history", [_versions_sql(model)]))
    await side_by_side(*parts)


def _alone(table: str) -> str:
    """Before statements sent with it: two that make the same thing at once fail, IF NOT EXISTS or not."""
    return f"SELECT pg_advisory_xact_lock(hashtextextended('{table}', 0));\n"


async def install_queries(connection: Connection, model: AnyModel, queries: Iterable[AnyQuery]) -> None:
    """Make the functions that ask this build."""
    for query in queries:
        if query.model.name == model.name:
            await _install_query(connection, query, Served(model.version, model.build))


async def begin_checkpoint(queries: Queries, model: AnyModel, position: int = 0) -> None:
    """Say that the table holds every event up to `position`, unless something was said before."""
    await queries.execute(_BEGIN_CHECKPOINT, model.kind, model.name, model.version, model.build, position)


async def table_exists(queries: Queries, kind: str) -> bool:
    """Whether this build of a read model has a table."""
    return bool(await queries.fetchval(_EXISTS, f"views.{kind}"))


async def _install_model(connection: Connection, model: AnyModel) -> None:
    await begin_checkpoint(connection, model)
    if not await table_exists(connection, model.kind):
        await connection.execute(table_sql(model))
    await activate_if_none(connection, model)


async def _install_query(connection: Connection, query: AnyQuery, served: Served) -> None:
    if not await connection.fetchval(_FUNCTION_EXISTS, query.function(served.version, served.build)):
        await connection.execute(function_sql(query, served))


async def _install_for_older(connection: Connection, query: AnyQuery, served: Served) -> None:
    """Today's question of a version that is still served, as far as that version has the columns for it."""
    try:
        async with connection.transaction():
            await _install_query(connection, query, served)
            # plpgsql looks at the columns only when it runs.
            nothing = (None,) * (len(query.parameters) + (query.audience == "tenant"))
            await connection.fetch(call_sql(query, served), *nothing)
    except (asyncpg.UndefinedColumnError, asyncpg.UndefinedTableError):
        return


def table_sql(model: AnyModel) -> str:
    """The statements that make the model's table, its indexes, its history, and what the API may see."""
    return _bare_sql(model) + _indexes_sql(model)


def _bare_sql(model: AnyModel) -> str:
    columns = "".join(f"    {column.name} {column.sql_type},\n" for column in model.columns)
    return f"""
        CREATE TABLE views.{model.kind} (
            tenant_id uuid NOT NULL,
            id uuid NOT NULL,
            first_position bigint NOT NULL,
            position bigint NOT NULL,
            {columns}
            row bytea NOT NULL,
            PRIMARY KEY (tenant_id, id)
        ) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
        ALTER TABLE views.{model.kind} ENABLE ROW LEVEL SECURITY;
        CREATE POLICY tenant_only ON views.{model.kind} TO dcf_app USING (tenant_id = {_TENANT});
        GRANT SELECT ON views.{model.kind} TO dcf_app;
        {_history_sql(model) if model.keeps_history else ""}
    """


def _indexes_sql(model: AnyModel) -> str:
    indexes = "".join(_index_sql(model, index) for index in model.indexes)
    return indexes + (_versions_sql(model) if model.keeps_history else "")


def _index_sql(model: AnyModel, index: Index) -> str:
    where = f" WHERE {index.where}" if index.where else ""
    return f"CREATE INDEX IF NOT EXISTS {model.kind}_{index.name} ON views.{model.kind} ({index.columns}){where};\n"


def _history_sql(model: AnyModel) -> str:
    return f"""
        CREATE TABLE views.{model.kind}_history (
            tenant_id uuid NOT NULL,
            id uuid NOT NULL,
            valid_from bigint NOT NULL,
            valid_to bigint NOT NULL,
            row bytea NOT NULL
        );
        ALTER TABLE views.{model.kind}_history ENABLE ROW LEVEL SECURITY;
        CREATE POLICY tenant_only ON views.{model.kind}_history TO dcf_app USING (tenant_id = {_TENANT});
        GRANT SELECT ON views.{model.kind}_history TO dcf_app;
    """


def _versions_sql(model: AnyModel) -> str:
    return f"""
        CREATE UNIQUE INDEX IF NOT EXISTS {model.kind}_history_by_row
            ON views.{model.kind}_history (tenant_id, id, valid_from);
        CREATE OR REPLACE VIEW views.{model.kind}_versions WITH (security_invoker = true) AS
        SELECT h.tenant_id, h.id, h.valid_from, h.valid_to,
               CASE WHEN get_byte(h.row, 0) <> {LINE_CODE} THEN h.row ELSE ({_chain_sql(model.kind)}) END AS row
          FROM views.{model.kind}_history h
         UNION ALL
        SELECT t.tenant_id, t.id, t.position, NULL, t.row FROM views.{model.kind} t;
        GRANT SELECT ON views.{model.kind}_versions TO dcf_app;
    """  # noqa: S608 - every name is the model's own


def _chain_sql(kind: str) -> str:
    """What leads to the version `h` (projections/row_changes.py), from the next one that is whole: the row itself, when
    there is none in the history."""
    return f"""
        SELECT string_agg(c.row, ''::bytea ORDER BY c.valid_from DESC)
          FROM (SELECT (SELECT f.valid_from
                          FROM views.{kind}_history f
                         WHERE f.tenant_id = h.tenant_id AND f.id = h.id AND f.valid_from > h.valid_from
                           AND get_byte(f.row, 0) <> {LINE_CODE}
                         ORDER BY f.valid_from
                         LIMIT 1) AS valid_from) w
         CROSS JOIN LATERAL
               (SELECT n.valid_from, n.row
                  FROM views.{kind}_history n
                 WHERE n.tenant_id = h.tenant_id AND n.id = h.id AND n.valid_from >= h.valid_from
                   AND n.valid_from <= coalesce(w.valid_from, {_POSITION_MAX})
                 UNION ALL
                SELECT t.position, t.row
                  FROM views.{kind} t
                 WHERE t.tenant_id = h.tenant_id AND t.id = h.id AND w.valid_from IS NULL) c"""  # noqa: S608 - as above


def call_sql(query: AnyQuery, served: Served) -> str:
    """The statement that calls the query's function."""
    count = len(query.parameters) + (query.audience == "tenant")
    function = query.function(served.version, served.build)
    return f"SELECT * FROM views.{function}({', '.join(f'${n}' for n in range(1, count + 1))})"  # noqa: S608 - the function is the model's own, the rest numbers of parameters


def function_sql(query: AnyQuery, served: Served) -> str:
    """The statements that make the query's function and say who may call it.

    A tenant's function runs with the rights of its caller, who sees only what the policies show, and sets the tenant for
    the one statement it is called in.
    """
    name = f"views.{query.function(served.version, served.build)}"
    of_tenant = query.audience == "tenant"
    types = ("uuid", *query.parameters) if of_tenant else query.parameters
    arguments = ", ".join(types)
    set_tenant = "PERFORM set_config('dcf.tenant', $1::text, true);" if of_tenant else ""
    rights = "SECURITY DEFINER SET search_path = pg_catalog, pg_temp" if query.audience == "anyone" else ""
    plans = "SET plan_cache_mode = force_custom_plan" if query.replans else ""
    grant = "" if query.audience == "engine" else f"GRANT EXECUTE ON FUNCTION {name}({arguments}) TO dcf_app;"
    return f"""
        CREATE FUNCTION {name}({arguments})
        RETURNS TABLE (tenant_id uuid, id uuid, first_position bigint, "position" bigint, "row" bytea)
        LANGUAGE plpgsql {rights} {plans}
        AS $body$
        #variable_conflict use_column
        BEGIN
            {set_tenant}
            RETURN QUERY {query.body(served.version, served.build)};
        END
        $body$;
        REVOKE ALL ON FUNCTION {name}({arguments}) FROM PUBLIC;
        {grant}
    """
