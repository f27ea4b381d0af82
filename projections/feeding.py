"""Which build of each read model this code keeps up: the one that is served, where it is of this code's version."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from eventstore.database import Database
from projections.active import active_versions
from projections.query import AnyQuery
from projections.read_model import AnyModel
from projections.tables import install


async def prepare(database: Database, models: Sequence[AnyModel], queries: Sequence[AnyQuery]) -> list[AnyModel]:
    """Make the tables and functions that are missing; the models to feed.

    A model of which another version is served is left out: this code cannot tell what the other version's rows hold.
    Readers stay on that one, as it is, until a rebuild has made this code's version (projections/rebuild).
    """
    active = await active_versions(database)
    fed = [
        msgspec.structs.replace(model, build=active[model.name].build) if model.name in active else model
        for model in models
        if model.name not in active or active[model.name].version == model.version
    ]
    await install(database, fed, queries)
    return fed
