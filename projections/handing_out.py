"""Each event of a batch decoded once, and given to every fold that is interested in it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from domain.event import Event
from eventstore.codec import Codec, tag_of
from eventstore.log import StoredEvent
from projections.fold import Fold
from projections.recorded import Recorded


def hand_out(codec: Codec, events: Sequence[StoredEvent], folds: Sequence[Fold]) -> None:
    """What nobody is interested in is not decoded: it may well be foreign."""
    interested: dict[str, list[Fold]] = {}
    for fold in folds:
        for tag in _tags(fold.model.interests):
            interested.setdefault(tag, []).append(fold)
    decode = codec.decode
    for stored in events:
        takers = interested.get(stored.type)
        if takers is None:
            continue
        try:
            event = decode(stored)
        except Exception as error:  # noqa: BLE001 - bytes that cannot be read must not stop the others
            for fold in takers:
                fold.take_unreadable(stored, error)
            continue
        recorded = Recorded(
            event,
            stored.tenant_id,
            stored.stream_id,
            stored.version,
            stored.position,
            stored.recorded_at,
            stored.meta,
        )
        for fold in takers:
            fold.take(recorded)


@lru_cache(maxsize=256)
def _tags(interests: tuple[type[Event], ...]) -> frozenset[str]:
    return frozenset(map(tag_of, interests))
