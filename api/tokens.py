"""Positions of the log as clients hold them, in the log's present epoch."""

from __future__ import annotations

from eventstore.log import Log
from eventstore.positions import PositionOfAnotherEpoch, format_position, parse_position


class Tokens:
    """Writes and reads position tokens. The epoch is asked for once, and again when a token names another one."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._epoch: int | None = None

    async def of(self, position: int) -> str:
        """The token of a position."""
        return format_position(await self._present(), position)

    def known(self, position: int) -> str | None:
        """The token of a position, when the epoch need not be asked for."""
        return None if self._epoch is None else format_position(self._epoch, position)

    async def read(self, token: str, field: str) -> int:
        """The position that a token names, given in this field. Raises MalformedPosition or PositionOfAnotherEpoch."""
        try:
            return parse_position(token, epoch=await self._present(), field=field)
        except PositionOfAnotherEpoch:
            self._epoch = None  # The log may have been restored since it was asked.
            return parse_position(token, epoch=await self._present(), field=field)

    async def _present(self) -> int:
        if self._epoch is None:
            self._epoch = await self._log.epoch()
        return self._epoch
