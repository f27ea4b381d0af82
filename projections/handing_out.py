"""Each event of a batch decoded once, and given to every fold that is interested in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from domain.event import Event
from eventstore.codec import Codec, tag_of
from eventstore.log import StoredEvent
from projections.fold import Fold
from projections.recorded import Recorded


class _Unread(msgspec.Struct, frozen=True):
    """Stands in for the event of what could not be decoded."""


_UNREAD: Any = _Unread()


class HandingOut:
    """To these folds. What none of them is interested in is not decoded: it may well be foreign."""

    def __init__(self, codec: Codec, folds: Sequence[Fold]) -> None:
        self._decode = codec.decode
        self._takers: dict[str, list[Fold]] = {}
        for fold in folds:
            for tag in _tags(fold.model.interests):
                self._takers.setdefault(tag, []).append(fold)
        self._folds = folds

    def give(self, events: Iterable[StoredEvent]) -> None:
        """Decode the next events and let the folds take them."""
        given: dict[int, list[Recorded]] = {id(fold): [] for fold in self._folds}
        gives = {tag: [given[id(fold)].append for fold in folds] for tag, folds in self._takers.items()}
        decode = self._decode
        for stored in events:
            takers = gives.get(stored.type)
            if takers is None:
                continue
            try:
                event = decode(stored)
            except Exception as error:  # noqa: BLE001 - bytes that cannot be read must not stop the others
                event = _UNREAD
                for fold in self._takers[stored.type]:
                    fold.note_unreadable(stored.position, error)
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
        for fold in self._folds:
            fold.take(given[id(fold)])


@lru_cache(maxsize=256)
def _tags(interests: tuple[type[Event], ...]) -> frozenset[str]:
    return frozenset(map(tag_of, interests))
