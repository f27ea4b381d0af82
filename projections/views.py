"""The port through which a worker keeps read models, and the store of them in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from eventstore.database import Database
from projections.active import active_versions
from projections.checkpoints import Checkpoint, positions, take_over
from projections.commit import Move, Part, commit
from projections.feeding import prepare
from projections.fold import Fold
from projections.parking import ParkedStreams, parked_streams
from projections.query import AnyQuery
from projections.read_model import AnyModel
from projections.stored_rows import load_rows


class Views(Protocol):
    """Rows, their history, what is parked and how far it all has come. Breaking any of it off loses nothing: what is
    written is written whole or not at all."""

    async def prepare(self, models: Sequence[AnyModel], queries: Sequence[AnyQuery]) -> list[AnyModel]:
        """Make what is missing; the models to feed."""
        ...

    async def take_over(self, kinds: Sequence[str], epoch: int) -> dict[str, Checkpoint]:
        """The checkpoints, which from now on only this epoch can move. Raises Superseded when a newer one has them."""
        ...

    async def parked(self, kinds: Sequence[str]) -> dict[str, ParkedStreams]:
        """What each version of a read model must not touch."""
        ...

    async def load(self, folds: Sequence[Fold]) -> None:
        """Give each fold the rows it wants, as far as they exist."""
        ...

    async def commit(self, move: Move, parts: Sequence[Part]) -> None:
        """Write everything, or raise Superseded and write nothing."""
        ...

    async def positions(self) -> dict[str, int]:
        """How far every version of every read model has come."""
        ...

    async def served(self) -> set[str]:
        """The kinds that readers are answered from."""
        ...


class PostgresViews:
    """The Views in the schema `views`. `database` acts as dcf_engine."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def prepare(self, models: Sequence[AnyModel], queries: Sequence[AnyQuery]) -> list[AnyModel]:
        return await prepare(self._database, models, queries)

    async def take_over(self, kinds: Sequence[str], epoch: int) -> dict[str, Checkpoint]:
        return await take_over(self._database, kinds, epoch)

    async def parked(self, kinds: Sequence[str]) -> dict[str, ParkedStreams]:
        return await parked_streams(self._database, kinds)

    async def load(self, folds: Sequence[Fold]) -> None:
        await load_rows(self._database, folds)

    async def commit(self, move: Move, parts: Sequence[Part]) -> None:
        await commit(self._database, move, parts)

    async def positions(self) -> dict[str, int]:
        return await positions(self._database)

    async def served(self) -> set[str]:
        return {served.kind(name) for name, served in (await active_versions(self._database)).items()}
