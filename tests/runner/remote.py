"""The town's log and read models as one process reaches them: over a network that takes its time, so that whoever asks may
die between the effect and the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any
from uuid import UUID

from eventstore.folds import Folds
from eventstore.log import Append, Duplicate, Log, News, Outcome, Since
from eventstore.turns import Turns
from projections.commit import Move, Part
from projections.fold import Fold
from projections.memory_views import MemoryViews
from tests.support import virtual_time

TRAVEL_SECONDS_MAX = 0.02


class RemoteLog:
    """A log with what one process keeps in mind of it. What is not named here is asked of the log itself."""

    def __init__(self, log: Log, random: Random) -> None:
        self.folds = Folds(self, monotonic=virtual_time.seconds)
        self.turns = Turns()
        self._log = log
        self._random = random

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def append(self, append: Append) -> Outcome:
        await self.travel()
        outcome = await self._log.append(append)
        await self.travel()
        return outcome

    async def find(self, tenant_id: UUID, command_id: UUID) -> Duplicate | None:
        await self.travel()
        return await self._log.find(tenant_id, command_id)

    async def load_since(self, known: Sequence[Since], *, epoch: int, worth: int) -> list[News]:
        news = await self._log.load_since(known, epoch=epoch, worth=worth)
        await self.travel()
        return news

    async def travel(self) -> None:
        await asyncio.sleep(self._random.uniform(0.0, TRAVEL_SECONDS_MAX))


class RemoteViews:
    """Read models as a worker reaches them. What is not named here is asked of the views themselves."""

    def __init__(self, views: MemoryViews, random: Random) -> None:
        self.views = views
        self._random = random

    def __getattr__(self, name: str) -> Any:
        return getattr(self.views, name)

    async def load(self, folds: Sequence[Fold]) -> None:
        await self.views.load(folds)
        await self.travel()

    async def commit(self, move: Move, parts: Sequence[Part]) -> None:
        await self.travel()
        await self.views.commit(move, parts)
        await self.travel()

    async def travel(self) -> None:
        await asyncio.sleep(self._random.uniform(0.0, TRAVEL_SECONDS_MAX))
