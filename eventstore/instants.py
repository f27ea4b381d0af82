"""Times as positions and back: the log's clock never runs against its order, so each time is a place in the log."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from eventstore.database import Database
from eventstore.log import Log

_POSITION_AT = "SELECT log.position_at($1)"
_RECORDED_AT = "SELECT log.recorded_at($1)"


class Instants(Protocol):
    """Both look at no more events than the logarithm of how many there are."""

    async def position_at(self, instant: datetime) -> int:
        """The position of the last event recorded at the instant or before; 0 when there was none."""
        ...

    async def recorded_at(self, position: int) -> datetime | None:
        """When the last event up to the position was recorded; None when there is none."""
        ...


class PostgresInstants:
    """The Instants of the log in PostgreSQL: one round trip each, for any role."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def position_at(self, instant: datetime) -> int:
        position: int = await self._database.fetchval(_POSITION_AT, instant)
        return position

    async def recorded_at(self, position: int) -> datetime | None:
        at: datetime | None = await self._database.fetchval(_RECORDED_AT, position)
        return at


class LogInstants:
    """The Instants of any log that may be read."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def position_at(self, instant: datetime) -> int:
        low, high = 0, await self._log.head()
        while low < high:
            middle = (low + high + 1) // 2
            at = await self.recorded_at(middle)
            assert at is not None, "positions are dense"
            low, high = (middle, high) if at <= instant else (low, middle - 1)
        return low

    async def recorded_at(self, position: int) -> datetime | None:
        found = await self._log.read(min(position, await self._log.head()) - 1, limit=1) if position > 0 else []
        return found[0].recorded_at if found else None
