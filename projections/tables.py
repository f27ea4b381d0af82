"""The tables of read models, one for each version, and the functions that ask them: made by the engine when it starts."""

from __future__ import annotations

from collections.abc import Iterable

import asyncpg

from eventstore.database import Connection, Database
from projections.active import activate_if_none, active_versions
from projections.query import AnyQuery
from projections.read_model import AnyModel, Index

# Two engines that start at once take turns; any number, the same for ever.
_LOCK = 7_305_441_210_003

_EXISTS = "SELECT to_regclass($1) IS NOT NULL"
_FUNCTION_EXISTS = """
    SELECT EXISTS (SELECT FROM pg_proc WHERE pronamespace = 'views'::regnamespace AND proname = $1)
"""
_BEGIN_CHECKPOINT = """
    INSERT INTO views.checkpoints (kind, model, version)
    VALUES ($1, $2, $3)
        ON CONFLICT (kind) DO NOTHING
"""

_TENANT = "nullif(current_setting('dcf.tenant', true), '')::uuid"
# Columns that every table has, before the model's own.
COMMON_COLUMNS = ("tenant_id", "id", "first_position", "position")


async def install(database: Database, models: Iterable[AnyModel], queries: Iterable[AnyQuery]) -> None:
    """Make what is missing: tables, the functions of queries, checkpoints. Doing it again changes nothing.

    A model that has no version in use yet is served from its present one at once, empty or not.
    """
    async with database.transaction() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        for model in models:
            await _install_model(connection, model)
        active = await active_versions(connection)
        for query in queries:
            await _install_query(connection, query, query.model.version)
            if active[query.model.name] != query.model.version:
                await _install_for_older(connection, query, active[query.model.name])


async def _install_model(connection: Connection, model: AnyModel) -> None:
    await connection.execute(_BEGIN_CHECKPOINT, model.kind, model.name, model.version)
    if not await connection.fetchval(_EXISTS, f"views.{model.kind}"):
        await connection.execute(table_sql(model))
    await activate_if_none(connection, model)


async def _install_query(connection: Connection, query: AnyQuery, version: int) -> None:
    if not await connection.fetchval(_FUNCTION_EXISTS, query.function(version)):
        await connection.execute(function_sql(query, version))


async def _install_for_older(connection: Connection, query: AnyQuery, version: int) -> None:
    """Today's question of a version that is still served, as far as that version has the columns for it."""
    try:
        async with connection.transaction():
            await _install_query(connection, query, version)
            # plpgsql looks at the columns only when it runs.
            nothing = (None,) * (len(query.parameters) + (query.audience == "tenant"))
            await connection.fetch(call_sql(query, version), *nothing)
    except (asyncpg.UndefinedColumnError, asyncpg.UndefinedTableError):
        return


def table_sql(model: AnyModel) -> str:
    """The statements that make the model's table, its indexes, its part of the history, and what the API may see."""
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
        {"".join(_index_sql(model, index) for index in model.indexes)}
        ALTER TABLE views.{model.kind} ENABLE ROW LEVEL SECURITY;
        CREATE POLICY tenant_only ON views.{model.kind} TO dcf_app USING (tenant_id = {_TENANT});
        GRANT SELECT ON views.{model.kind} TO dcf_app;
        {_history_sql(model) if model.keeps_history else ""}
    """


def _index_sql(model: AnyModel, index: Index) -> str:
    where = f" WHERE {index.where}" if index.where else ""
    return f"CREATE INDEX {model.kind}_{index.name} ON views.{model.kind} ({index.columns}){where};\n"


def _history_sql(model: AnyModel) -> str:
    return f"""
        CREATE TABLE views.{model.kind}_history PARTITION OF views.history FOR VALUES IN ('{model.kind}')
          WITH (fillfactor = 90);
        ALTER TABLE views.{model.kind}_history ADD PRIMARY KEY (tenant_id, id, valid_from);
        ALTER TABLE views.{model.kind}_history ENABLE ROW LEVEL SECURITY;
    """


def call_sql(query: AnyQuery, version: int) -> str:
    """The statement that calls the query's function."""
    count = len(query.parameters) + (query.audience == "tenant")
    return f"SELECT * FROM views.{query.function(version)}({', '.join(f'${n}' for n in range(1, count + 1))})"  # noqa: S608


def function_sql(query: AnyQuery, version: int) -> str:
    """The statements that make the query's function and say who may call it.

    A tenant's function runs with the rights of its caller, who sees only what the policies show, and sets the tenant for
    the one statement it is called in.
    """
    name = f"views.{query.function(version)}"
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
            RETURN QUERY {query.body(version)};
        END
        $body$;
        REVOKE ALL ON FUNCTION {name}({arguments}) FROM PUBLIC;
        {grant}
    """
