"""Read models in memory that a worker keeps, as one does in PostgreSQL, and the reader that is told of every batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from projections.catalogue import READ_MODELS
from projections.checkpoints import Checkpoint, Superseded
from projections.commit import Move, Part
from projections.fold import Fold, Folded
from projections.memory_tables import MemoryTables
from projections.parking import Parked, ParkedStreams
from projections.progress import Progress
from projections.query import AnyQuery, Found, Query
from projections.read_model import AnyModel, RowKey
from projections.reader import AnsweringByRows
from projections.row_changes import LINE, restored

A = TypeVar("A")


class MemoryViews:
    """The Views of one process, one build of each model. Nothing in `commit` waits, so it is all or nothing by itself."""

    def __init__(self, models: Sequence[AnyModel] = READ_MODELS) -> None:
        self.tables = MemoryTables(models, as_stored=True)
        self.progress = Progress()
        self._models = {model.kind: model for model in models}
        self._checkpoints = {kind: Checkpoint(kind, 0, 0) for kind in self._models}
        self._epochs = dict.fromkeys(self._models, 0)
        self._parked: dict[str, list[Parked]] = {kind: [] for kind in self._models}

    async def prepare(self, models: Sequence[AnyModel], queries: Sequence[AnyQuery]) -> list[AnyModel]:
        return [model for model in models if model.kind in self._models]

    async def take_over(self, kinds: Sequence[str], epoch: int) -> dict[str, Checkpoint]:
        if any(self._epochs[kind] > epoch for kind in kinds):
            raise Superseded(f"epoch {epoch} is not the newest")
        self._epochs.update(dict.fromkeys(kinds, epoch))
        return {kind: self._checkpoints[kind] for kind in kinds}

    async def parked(self, kinds: Sequence[str]) -> dict[str, ParkedStreams]:
        found = {kind: ParkedStreams() for kind in kinds}
        for kind, streams in found.items():
            for one in self._parked[kind]:
                streams.add(one.tenant_id, one.stream_id, one.ids)
        return found

    async def load(self, folds: Sequence[Fold]) -> None:
        for fold in folds:
            rows = self.tables.of(fold.model)
            for key in fold.wanted:
                if (found := rows.get(key)) is not None:
                    fold.load(*key, found.first_position, found.position, found.raw)

    async def commit(self, move: Move, parts: Sequence[Part]) -> None:
        for mine in move.checkpoints:
            held = self._checkpoints[mine.kind]
            if (self._epochs[mine.kind], held.position, held.generation) != (
                move.epoch,
                move.from_position,
                mine.generation,
            ):
                raise Superseded(f"epoch {move.epoch} cannot move on from {move.from_position}")
        self.write(parts)
        for mine in move.checkpoints:
            moved = msgspec.structs.replace(self._checkpoints[mine.kind], position=move.to_position)
            self._checkpoints[mine.kind] = moved
        self.progress.advance([mine.kind for mine in move.checkpoints], move.to_position)

    async def positions(self) -> dict[str, int]:
        return {kind: checkpoint.position for kind, checkpoint in self._checkpoints.items()}

    async def served(self) -> set[str]:
        return set(self._models)

    def parked_events(self, kind: str) -> Sequence[Parked]:
        """The events set aside for a read model, oldest first."""
        return self._parked[kind]

    def write(self, parts: Sequence[Part]) -> None:
        """Rows and history, whoever may move the checkpoint."""
        for model, folded in parts:
            self._write(model, folded)

    def _write(self, model: AnyModel, folded: Folded) -> None:
        self._keep_closed(model, folded)
        for tenant_id, id, first_position, position, *_columns, raw in (*folded.added, *folded.changed):
            row = msgspec.json.decode(raw, type=model.row)
            self.tables.put(model, (tenant_id, id), Found(tenant_id, id, first_position, position, raw, row))
        for key in folded.gone:
            self.tables.of(model).pop(key, None)
        self._parked[model.kind].extend(folded.parked)

    def _keep_closed(self, model: AnyModel, folded: Folded) -> None:
        """What came to stand no longer: all but the first of a row's versions stood within the batch only."""
        present = {(record[0], record[1]): record for record in (*folded.added, *folded.changed)}
        closed: dict[RowKey, list[tuple[int, int, bytes]]] = {}
        for tenant_id, id, valid_from, valid_to, kept in folded.closed:
            closed.setdefault((tenant_id, id), []).append((valid_from, valid_to, kept))
        for key, versions in closed.items():
            stands = present.get(key)
            whole = _whole(versions, stands[-1] if stands else b"")
            before = self.tables.of(model).get(key)
            ended = versions[0][0]
            first = before.first_position if before else ended
            for (valid_from, valid_to, _), raw in zip(versions, whole, strict=True):
                if valid_from != ended:  # It was gone, and was made anew.
                    self.tables.remember(model, key, ended, None)
                    first = valid_from
                if before is None or valid_from != before.position:
                    row = msgspec.json.decode(raw, type=model.row)
                    self.tables.remember(model, key, valid_from, Found(*key, first, valid_from, raw, row))
                ended = valid_to
            if stands is None or stands[3] != ended:
                self.tables.remember(model, key, ended, None)


def _whole(versions: Sequence[tuple[int, int, bytes]], following: bytes) -> list[bytes]:
    """The JSON of each version, which may be kept as what the one after it has otherwise."""
    whole: list[bytes] = []
    for _, _, kept in reversed(versions):
        following = restored(following + kept) if kept.startswith(LINE) else kept
        whole.append(following)
    return whole[::-1]


class MemoryViewsReader(AnsweringByRows):
    """The Reader of what a worker keeps in memory: as far behind the log as the worker is."""

    def __init__(self, views: MemoryViews) -> None:
        self._views = views

    async def rows(self, query: Query[A], tenant_id: UUID | None, *args: Any) -> list[Found[A]]:
        return self._views.tables.rows(query, tenant_id, *args)

    async def wait_for(self, position: int, queries: Iterable[AnyQuery] = (), *, seconds_max: float) -> bool:
        kinds = frozenset(query.model.kind for query in queries) or frozenset(await self._views.served())
        return await self._views.progress.reached(kinds, position, seconds_max=seconds_max)
