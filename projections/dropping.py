"""Takes away builds of read models that are no longer served."""

from __future__ import annotations

from eventstore.database import Connection, Database
from projections.active import active_versions, forget_previous
from projections.read_model import kind_of
from projections.rebuild.jobs import open_jobs

DROP_SECONDS_MAX = 600.0

_BUILDS = """
    SELECT c.version, c.build FROM views.checkpoints c WHERE c.model = $1
     UNION
    SELECT r.version, r.build FROM views.rebuilds r
     WHERE r.model = $1 AND to_regclass('views.' || $1 || '_v' || r.version || '_b' || r.build) IS NOT NULL
     ORDER BY 1, 2
"""
# Names of other kinds may begin with this one's.
_FUNCTIONS = """
    SELECT p.oid::regprocedure::text
      FROM pg_proc p
     WHERE p.pronamespace = 'views'::regnamespace AND p.prosrc ~ ('views\\.' || $1 || '(_versions)?\\M')
"""


async def drop_old(database: Database, name: str) -> list[str]:
    """Drop every build of a model that is not served and that no job is making; their kinds. `database` acts as
    dcf_engine. There is nothing to switch back to afterwards."""
    served = (await active_versions(database)).get(name)
    in_making = {job.kind for job in await open_jobs(database)}
    kept = in_making | ({served.kind(name)} if served else set())
    kinds = [kind_of(name, row["version"], row["build"]) for row in await database.fetch(_BUILDS, name)]
    old = [kind for kind in kinds if kind not in kept]
    for kind in old:
        async with database.transaction() as connection:
            await drop_kind(connection, kind)
    await forget_previous(database, name)
    return old


async def drop_kind(connection: Connection, kind: str) -> None:
    """Drop one build: its table, history, view, functions, what is parked for it, and its checkpoint. Within a
    transaction; doing it again changes nothing."""
    for (function,) in await connection.fetch(_FUNCTIONS, kind):
        await connection.execute(f"DROP FUNCTION {function}", timeout=DROP_SECONDS_MAX)
    await connection.execute(
        f"DROP VIEW IF EXISTS views.{kind}_versions; DROP TABLE IF EXISTS views.{kind}, views.{kind}_history",
        timeout=DROP_SECONDS_MAX,
    )
    await connection.execute("DELETE FROM views.parked WHERE kind = $1", kind)
    await connection.execute("DELETE FROM views.checkpoints WHERE kind = $1", kind)
