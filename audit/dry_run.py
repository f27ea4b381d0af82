"""A changed read model run over the whole log and compared with the one that is served; nothing is written anywhere."""

from __future__ import annotations

from typing import Any

import asyncpg

from audit.findings import Findings, Tell
from audit.model_check import Check, check_model, wanted_by
from audit.model_tables import Table, TableGone
from eventstore.archive.whole import Shelf
from eventstore.codec import Codec
from eventstore.database import Database
from projections.active import Served, active_versions
from projections.read_model import AnyModel

# A model that is switched meanwhile is begun again so often.
ATTEMPTS_MAX = 5


class NothingServed(Exception):
    """No read model of this name is served, or another one all the time."""


async def dry_run(
    database: Database,
    codec: Codec,
    changed: AnyModel,
    tell: Tell,
    *,
    lane_bytes: int | None = None,
    shelf: Shelf | None = None,
) -> tuple[Served, Findings]:
    """What is served, and what of it would be otherwise: a `missing` row would be made, a `surplus` one would go, and an
    `unreadable` one cannot be folded by the changed code. `database` acts as dcf_engine; archived events come from the shelf.

    Raises NothingServed; EventsArchived, ArchiveDamaged.
    """
    more: dict[str, Any] = {} if lane_bytes is None else {"lane_bytes": lane_bytes}
    for _ in range(ATTEMPTS_MAX):
        served = (await active_versions(database)).get(changed.name)
        if served is None:
            break
        # Its columns and its history are the served version's own affair.
        table = Table(kind=served.kind(changed.name))
        check = Check(model=changed, table=table, wanted=wanted_by(changed), exactly=False)
        findings = Findings()
        try:
            await check_model(database, codec, check, findings, tell, shelf=shelf, **more)
        except (TableGone, asyncpg.UndefinedTableError):
            continue
        return served, findings
    raise NothingServed(f"there is no read model {changed.name!r} that is served and could be compared")
