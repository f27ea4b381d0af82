"""What holds a tenant in when the code that should forgets to: row-level security, tried with every filter taken away."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import msgspec

from api.first_start import TENANT_ID
from eventstore.database import connect
from eventstore.session import sessions
from projections.active import Served
from projections.catalogue import QUERIES
from projections.postgres_reader import PostgresReader
from projections.projects import PROJECTS_LIST
from projections.query import AnyQuery
from projections.tables import call_sql, function_sql
from tests.api.steps import a_function, a_project, ask, connected, the_files, upload
from tests.api.world import World

_FILTER = re.compile(r"\b(\w+)\.tenant_id = \$1\b")
_OF_TENANTS = [query for query in QUERIES if query.audience == "tenant"]


class _Counting:
    """A pool that counts what is asked of it."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self.round_trips = 0

    def __getattr__(self, name: str) -> Any:
        self.round_trips += 1
        return getattr(self._database, name)


def _without_filter(query: AnyQuery, served: Served) -> str:
    """The statements that put a careless twin in the function's place: the same question, of everybody's rows."""
    careless = _FILTER.sub(r"(\1.tenant_id = $1 OR true)", query.sql)
    assert careless != query.sql, f"{query.name} names its tenant in a way that this test does not know"
    body = msgspec.structs.replace(query, sql=careless).body(served.version, served.build)
    made = function_sql(query, served).replace(query.body(served.version, served.build), body)
    return made.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")


async def _forget_every_filter(url: str) -> list[str]:
    """Replace all that a tenant's questions go through; the statements that ask, by the name of the query."""
    async with connect(url, role="dcf_engine", size_max=1) as engine:
        rows = await engine.fetch("SELECT model, version, build FROM views.active_versions")
        active = {row["model"]: Served(row["version"], row["build"]) for row in rows}
        for query in _OF_TENANTS:
            await engine.execute(_without_filter(query, active[query.model.name]))
        leaked = await engine.fetch(
            call_sql(PROJECTS_LIST, active["projects"]), UUID(int=1), PROJECTS_LIST.beginning, 10
        )
        return [str(row["id"]) for row in leaked]


class TestAReaderThatForgetsTheTenant:
    async def test_leaks_nothing_through_any_route(
        self, postgres_world: World, postgres_client: httpx.AsyncClient, database_url: str
    ) -> None:
        """Goal: row-level security alone holds. Method: take the tenant filter out of every query that the service is
        running on, see that they now find anything where no policy holds, and read everything as a stranger."""
        project_id = await a_project(postgres_client, "marzipan")
        await connected(postgres_client, project_id)
        files = await the_files(postgres_client, project_id)
        function_id = await a_function(postgres_client, project_id, name="marzipan", artifactFiles=files)
        asked = {"functionId": function_id, "provider": "local", "target": {}}
        deployment = await ask(postgres_client, "POST", f"/projects/{project_id}/deployments", asked, status=202)
        key = await ask(postgres_client, "POST", "/keys", {"name": "marzipan", "role": "viewer"}, status=201)
        stranger_key = await postgres_world.stranger_key()

        leaked = await _forget_every_filter(database_url)

        assert leaked == [project_id], "without policies the filters were all that held: they are gone"
        project = f"/api/v1/projects/{project_id}"
        function = f"{project}/functions/{function_id}"
        run = f"{project}/deployments/{deployment['deploymentId']}"
        lists = ["projects", "keys", "tenant/members", "tenant/invitations", "audit/events", "audit/changes"]
        paths = [f"/api/v1/{name}" for name in lists]
        paths += [project, f"{project}/functions", f"{project}/deployments", f"{project}/artifacts", function, run]
        paths += [f"{function}/revisions", f"{run}/events", f"{run}/build-log", f"/api/v1/keys/{key['keyId']}"]
        paths += [f"{project}/integrations", f"/api/v1/audit/{project_id}/history", "/api/v1/tenant"]
        async with postgres_world.client(stranger_key) as stranger:
            told = {path: await stranger.get(path) for path in paths}
            written = await upload(stranger, "code", project_id)
        kept = {name: (await postgres_client.get(name)).status_code for name in (project, function, run)}

        for path, answer in told.items():
            assert answer.status_code in (200, 404), (path, answer.text)
            text = answer.text.replace(path, "")
            found = [word for word in ("marzipan", function_id, str(TENANT_ID)) if word in text]
            assert found == [], (path, answer.text)
        assert written.status_code == 404
        assert set(kept.values()) == {200}, "the tenant itself goes on"

    async def test_and_asks_the_database_once(self, postgres_world: World, database_url: str) -> None:
        """The second wall costs no second round trip: the function that selects is the one that sets the tenant."""
        async with connect(database_url, role="dcf_app", size_max=1) as pool:
            counting = _Counting(pool)
            async with PostgresReader(counting, sessions(database_url, role="dcf_app")) as reader:
                await reader.page(PROJECTS_LIST, TENANT_ID, after=None, limit=10)
                before = counting.round_trips

                await reader.page(PROJECTS_LIST, TENANT_ID, after=None, limit=10)

        assert counting.round_trips - before == 1


class TestTheTables:
    async def test_show_nobody_elses_rows_to_the_api_whatever_it_asks(
        self, postgres_world: World, postgres_client: httpx.AsyncClient, database_url: str
    ) -> None:
        """Every table with a tenant in it, read whole in the API's role: with no tenant set, then with another's."""
        project_id = await a_project(postgres_client)
        await a_function(postgres_client, project_id)
        await upload(postgres_client, "code", project_id)

        seen, rows = {}, 0
        connection = await asyncpg.connect(database_url)
        try:
            tables = await connection.fetch(_TENANTS_TABLES)
            for schema, name in tables:
                table = f'{schema}."{name}"'
                rows += await connection.fetchval(f"SELECT count(*) FROM {table} WHERE tenant_id = $1", TENANT_ID)
                for tenant in ("", str(UUID(int=7))):
                    seen[table, tenant] = await _seen(connection, table, tenant)
        finally:
            await connection.close()

        assert len(tables) > 30
        assert rows > 10
        # What is the service's own, and nobody's: how far its read models are.
        own = {"views.checkpoints", "views.active_versions"}
        shown = {table for (table, _), found in seen.items() if found and table.replace('"', "") not in own}
        assert shown == set()


_TENANTS_TABLES = """
    SELECT n.nspname, c.relname
      FROM pg_class c
      JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
     WHERE n.nspname IN ('log', 'views', 'work', 'vault') AND c.relkind IN ('r', 'p', 'v')
"""


async def _seen(connection: Any, table: str, tenant: str) -> int:
    """How many rows the API's role sees; what it may not read at all shows none."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute("SET LOCAL ROLE dcf_app")
        await connection.execute("SELECT set_config('dcf.tenant', $1, true)", tenant)
        return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))
    except (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidTextRepresentationError):
        return 0  # It may not, or does not know whose.
    finally:
        await transaction.rollback()
