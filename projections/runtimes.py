"""Runtimes: every Dart SDK version offered, with its dates; where each stands follows from the dates and the instant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

import msgspec

from domain.runtime import RUNTIMES as AGGREGATE
from domain.runtime import RUNTIMES_STREAM, Dates, RuntimeAdded, RuntimeDatesSet, RuntimeDefaultSet
from projections.query import ROWS, Found, Query, page_of
from projections.read_model import ReadModel, present
from projections.recorded import Recorded

RUNTIMES_MAX = 1_000

# The row that names the default version.
DEFAULT_ID = uuid5(RUNTIMES_STREAM.id, "default")


class Runtime(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A version and its dates. The row under DEFAULT_ID has no dates and names the version new drafts are offered."""

    version: str
    released_at: datetime | None = None
    deprecation_announced_at: datetime | None = None
    block_new_deploys_after: datetime | None = None
    disable_execution_after: datetime | None = None

    @property
    def dates(self) -> Dates | None:
        """The dates as the domain takes them; None in the row of the default."""
        if self.released_at is None:
            return None
        return Dates(
            released_at=self.released_at,
            deprecation_announced_at=self.deprecation_announced_at,
            block_new_deploys_after=self.block_new_deploys_after,
            disable_execution_after=self.disable_execution_after,
        )


def runtime_id(version: str) -> UUID:
    """The id of a version's row."""
    return uuid5(RUNTIMES_STREAM.id, f"version/{version}")


def keys(recorded: Recorded) -> Sequence[UUID]:
    match recorded.event:
        case RuntimeAdded(version=version) | RuntimeDatesSet(version=version):
            return (runtime_id(version),)
        case RuntimeDefaultSet():
            return (DEFAULT_ID,)
        case _:
            return ()


def project(row: Runtime | None, recorded: Recorded) -> Runtime | None:
    match recorded.event:
        case RuntimeAdded() as event:
            return Runtime(version=event.version, **_dates(event.dates))
        case RuntimeDatesSet() as event:
            return Runtime(version=present(row).version, **_dates(event.dates))
        case RuntimeDefaultSet() as event:
            return Runtime(version=event.version)
        case _:
            return row


def _dates(dates: Dates) -> dict[str, Any]:
    return msgspec.structs.asdict(dates)


RUNTIMES = ReadModel(
    name="runtimes",
    version=2,
    row=Runtime,
    interests=AGGREGATE.events,
    keys=keys,
    sources=lambda _tenant_id, _id, _row: (RUNTIMES_STREAM.id,),
    project=project,
)


def _all(rows: Iterable[Found[Runtime]]) -> list[Found[Runtime]]:
    return page_of(rows, "oldest_first", 0, RUNTIMES_MAX)


# Every version, and the row of the default. Asked for the tenant of the service itself.
RUNTIMES_LIST = Query(
    name="runtimes_list",
    model=RUNTIMES,
    answer=Runtime,
    sql=ROWS + f" WHERE t.tenant_id = $1 ORDER BY t.first_position LIMIT {RUNTIMES_MAX}",
    select=_all,
)
