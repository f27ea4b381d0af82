"""Which version of each read model is served: one row a model, moved when a newer version has caught up."""

from __future__ import annotations

from eventstore.database import Queries
from projections.read_model import AnyModel

CHANNEL = "dcf_active"

_FIRST = """
    INSERT INTO views.active_versions (model, version)
    VALUES ($1, $2)
        ON CONFLICT (model) DO NOTHING
"""
_ACTIVATE = """
    WITH moved AS (
        INSERT INTO views.active_versions (model, version)
        VALUES ($1, $2)
            ON CONFLICT (model) DO UPDATE SET version = EXCLUDED.version, changed_at = clock_timestamp()
             WHERE active_versions.version <> EXCLUDED.version
        RETURNING model
    )
    SELECT pg_notify($3, model) FROM moved
"""
_ALL = "SELECT model, version FROM views.active_versions"


async def activate_if_none(queries: Queries, model: AnyModel) -> None:
    """Serve this version of a model that has none in use."""
    await queries.execute(_FIRST, model.name, model.version)


async def activate(queries: Queries, model: AnyModel) -> None:
    """Serve this version from now on, and tell every reader."""
    await queries.execute(_ACTIVATE, model.name, model.version, CHANNEL)


async def active_versions(queries: Queries) -> dict[str, int]:
    """The version in use of each model."""
    return {row["model"]: row["version"] for row in await queries.fetch(_ALL)}
