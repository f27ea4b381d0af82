"""Each event of a batch decoded once, and given to every fold that is interested in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from domain.event import Event
from eventstore.codec import Codec, tag_of
from eventstore.log import StoredEvent
from projections.fold import Fold
from projections.read_model import AnyModel
from projections.recorded import Recorded


class _Unread(msgspec.Struct, frozen=True):
    """Stands in for the event of what could not be decoded."""


_UNREAD: Any = _Unread()


class HandingOut:
    """To these folds. What none of them is interested in is not decoded: it may well be foreign."""

    def __init__(self, codec: Codec, folds: Sequence[Fold]) -> None:
        self._codec = codec
        self._takers = _takers(tuple(fold.model.interests for fold in folds))
        self._folds = folds

    def give(self, events: Iterable[StoredEvent]) -> None:
        """Decode the next events and let the folds take them."""
        given: defaultdict[int, list[Recorded]] = defaultdict(list)
        gives: dict[tuple[str, int], tuple[list[Callable[[Recorded], None]], Callable[[StoredEvent], Event]]] = {}
        for stored in events:
            form = (stored.type, stored.schema_version)
            known = gives.get(form)
            if known is None:
                takers = [given[number].append for number in self._takers.get(stored.type, ())]
                known = gives[form] = takers, self._codec.reader(*form)
            takers, decode = known
            if not takers:
                continue
            try:
                event = decode(stored)
            except Exception as error:  # noqa: BLE001 - bytes that cannot be read must not stop the others
                event = _UNREAD
                for number in self._takers[stored.type]:
                    self._folds[number].note_unreadable(stored.position, error)
            recorded = Recorded(
                event,
                stored.tenant_id,
                stored.stream_id,
                stored.version,
                stored.position,
                stored.recorded_at,
                stored.meta,
            )
            for take in takers:
                take(recorded)
        for number, recordeds in given.items():
            self._folds[number].take(recordeds)


def interested(models: Sequence[AnyModel], types: Iterable[str]) -> set[int]:
    """The numbers of the models that have an interest in events of these types."""
    takers = _takers(tuple(model.interests for model in models))
    return {number for type in types for number in takers.get(type, ())}


@lru_cache(maxsize=256)
def _takers(interests: tuple[tuple[type[Event], ...], ...]) -> Mapping[str, Sequence[int]]:
    """By the tags of events, whose interests they are."""
    takers: defaultdict[str, list[int]] = defaultdict(list)
    for number, types in enumerate(interests):
        for tag in set(map(tag_of, types)):
            takers[tag].append(number)
    return dict(takers)
