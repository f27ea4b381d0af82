"""Events folded by the read models that stand together, and what there is to write of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import msgspec

from eventstore.codec import Codec
from eventstore.log import StoredEvent
from projections.commit import Part
from projections.fold import Fold, Folded
from projections.handing_out import HandingOut, interested
from projections.parking import Parked, ParkedStreams, error_text
from projections.read_model import AnyModel
from projections.recent_rows import RecentRows

# After so many events others get a turn: the batch before is being written meanwhile, and has to be sent.
_EVENTS_AT_A_TIME = 100


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """`position` is where the read models stand before it; `parked` is what they must not touch after it. There is a
    fold, and a part, of those models that have an interest in the events, which are of these `types`."""

    position: int
    events: Sequence[StoredEvent]
    types: Collection[str]
    models: Sequence[AnyModel]
    folds: Sequence[Fold]
    parts: Sequence[Part]
    parked: Mapping[str, ParkedStreams]

    @property
    def kinds(self) -> list[str]:
        return [model.kind for model in self.models]

    @property
    def length(self) -> int:
        """How many positions it takes the read models further, whether or not they had to see what is there."""
        return self.last.position - self.position

    @property
    def last(self) -> StoredEvent:
        return self.events[-1]


def set_aside(codec: Codec, model: AnyModel, stored: StoredEvent, error: Exception) -> Folded:
    """Of an event whose rows the database refuses: it is parked, with all the rows it would touch."""
    fold = Fold(model, ParkedStreams())
    HandingOut(codec, [fold]).give([stored])
    ids = tuple(id for _, id in fold.keys)
    return Folded(parked=[Parked(stored.tenant_id, stored.stream_id, stored.position, ids, error_text(error))])


async def fold_batch(
    load: Callable[[Sequence[Fold]], Awaitable[None]],
    codec: Codec,
    models: Sequence[AnyModel],
    parked: Mapping[str, ParkedStreams],
    position: int,
    events: Sequence[StoredEvent],
    *,
    before: Batch | None = None,
    recent: RecentRows | None = None,
) -> Batch:
    """Fold the events, which follow `position`, in memory. `load` gives folds the rows they want. `before` is the batch of the same models before this one,
    should it not be written yet; `recent` is what need not be asked of the tables."""
    types = {event.type for event in events}
    concerned = [models[number] for number in sorted(interested(models, types))]
    held = dict(parked) | {model.kind: parked[model.kind].copy() for model in concerned}
    earlier = {fold.model.kind: fold for fold in before.folds} if before else {}
    folds = [
        Fold(model, held[model.kind], earlier.get(model.kind), recent.of(model.kind) if recent else None)
        for model in concerned
    ]
    handing_out = HandingOut(codec, folds)
    for start in range(0, len(events), _EVENTS_AT_A_TIME):
        if start:
            await asyncio.sleep(0)
        handing_out.give(events[start : start + _EVENTS_AT_A_TIME])
    await load(folds)
    applied = 0
    for fold in folds:
        for begin in range(0, fold.taken, _EVENTS_AT_A_TIME):
            fold.apply(_EVENTS_AT_A_TIME)
            applied += min(_EVENTS_AT_A_TIME, fold.taken - begin)
            if applied >= _EVENTS_AT_A_TIME:
                applied = 0
                await asyncio.sleep(0)
    parts = [(fold.model, fold.finish()) for fold in folds]
    return Batch(position=position, events=events, types=types, models=models, folds=folds, parts=parts, parked=held)
