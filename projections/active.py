"""Which build of which version of each read model is served: one row a model, moved when another has caught up."""

from __future__ import annotations

import msgspec

from eventstore.database import Queries
from projections.read_model import AnyModel, kind_of

CHANNEL = "dcf_active"


class Served(msgspec.Struct, frozen=True):
    """One build of one version of a read model."""

    version: int
    build: int = 0

    def kind(self, name: str) -> str:
        """The kind it is for the model of this name."""
        return kind_of(name, self.version, self.build)


_FIRST = """
    INSERT INTO views.active_versions (model, version, build)
    VALUES ($1, $2, $3)
        ON CONFLICT (model) DO NOTHING
"""
_ACTIVATE = """
    WITH moved AS (
        INSERT INTO views.active_versions AS a (model, version, build)
        VALUES ($1, $2, $3)
            ON CONFLICT (model) DO UPDATE
           SET version = EXCLUDED.version, build = EXCLUDED.build, changed_at = clock_timestamp(),
               previous_version = a.version, previous_build = a.build
             WHERE (a.version, a.build) <> (EXCLUDED.version, EXCLUDED.build)
        RETURNING model
    )
    SELECT pg_notify($4, model) FROM moved
"""
_ALL = "SELECT model, version, build FROM views.active_versions"
_PREVIOUS = "SELECT previous_version, previous_build FROM views.active_versions WHERE model = $1"
_PREVIOUS_OF_ALL = """
    SELECT model, previous_version, previous_build FROM views.active_versions WHERE previous_version IS NOT NULL
"""
_FORGET = "UPDATE views.active_versions SET previous_version = NULL, previous_build = NULL WHERE model = $1"


async def activate_if_none(queries: Queries, model: AnyModel) -> None:
    """Serve this build of a model that has none in use."""
    await queries.execute(_FIRST, model.name, model.version, model.build)


async def activate(queries: Queries, model: AnyModel) -> None:
    """Serve this build from now on, and tell every reader."""
    await queries.execute(_ACTIVATE, model.name, model.version, model.build, CHANNEL)


async def active_versions(queries: Queries) -> dict[str, Served]:
    """What is in use of each model."""
    return {row["model"]: Served(row["version"], row["build"]) for row in await queries.fetch(_ALL)}


async def previous_versions(queries: Queries) -> dict[str, Served]:
    """What was in use of each model before the present one, as far as it is kept."""
    rows = await queries.fetch(_PREVIOUS_OF_ALL)
    return {row["model"]: Served(row["previous_version"], row["previous_build"]) for row in rows}


async def previous_version(queries: Queries, name: str) -> Served | None:
    """What was in use of a model before the present one, while it is kept."""
    row = await queries.fetchrow(_PREVIOUS, name)
    if row is None or row["previous_version"] is None:
        return None
    return Served(row["previous_version"], row["previous_build"])


async def forget_previous(queries: Queries, name: str) -> None:
    """There is nothing to switch back to any more."""
    await queries.execute(_FORGET, name)
