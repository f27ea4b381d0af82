"""A fold in batches of any size is the plain fold."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore.log import StoredEvent
from projections.catalogue import READ_MODELS
from projections.fold import Fold, Folded
from projections.handing_out import HandingOut
from projections.parking import ParkedStreams
from projections.read_model import AnyModel
from tests.projections.history import CODEC, History, fold, memory_log
from tests.projections.stories import STORIES, about_others, mingle


class Table:
    """What a read model's table and history would be."""

    def __init__(self, model: AnyModel) -> None:
        self.model = model
        self.rows: dict[Any, tuple[int, int, bytes]] = {}
        self.history: dict[Any, tuple[int, bytes]] = {}

    def apply(self, events: Sequence[StoredEvent]) -> Folded:
        batch = Fold(self.model, ParkedStreams())
        HandingOut(CODEC, [batch]).give(events)
        for key in batch.wanted:
            if key in self.rows:
                first, position, content = self.rows[key]
                batch.load(*key, first, position, content)
        folded = batch.finish()
        assert not {row[:2] for row in folded.added} & self.rows.keys()
        assert {row[:2] for row in folded.changed} <= self.rows.keys()
        self.rows.update({row[:2]: (row[2], row[3], row[-1]) for row in folded.added + folded.changed})
        for key in folded.gone:
            del self.rows[key]
        for tenant_id, id, start, end, row in folded.closed:
            assert (tenant_id, id, start) not in self.history
            self.history[tenant_id, id, start] = (end, row)
        assert not folded.parked
        return folded


@pytest.mark.parametrize("model", READ_MODELS, ids=lambda model: model.name)
@settings(max_examples=15, deadline=None)
@given(
    chosen=st.lists(st.sampled_from(sorted(STORIES)), min_size=1, max_size=3),
    chance=st.randoms(use_true_random=False),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5),
)
async def test_batches_of_any_size_give_the_rows_and_the_history_of_single_events(
    model: AnyModel, chosen: list[str], chance: random.Random, sizes: list[int]
) -> None:
    log = memory_log()
    stories = [about_others(STORIES[name], number) for number, name in enumerate(chosen, 1)]
    await History(log).record_together(mingle(stories, chance))
    events = await log.read(0, limit=10_000)
    batched, single = Table(model), Table(model)

    for event in events:
        single.apply([event])
    start = turn = 0
    while start < len(events):
        size = sizes[turn % len(sizes)]
        batched.apply(events[start : start + size])
        start, turn = start + size, turn + 1

    plain = {key: (row.first_position, row.position, row.raw) for key, row in (await fold(log, model)).items()}
    assert batched.rows == single.rows == plain
    assert batched.history == single.history
    if model.keeps_history:
        followed = {(*key[:2], end) for key, (end, _) in batched.history.items()}
        assert {(*key, position) for key, (first, position, _) in plain.items() if position != first} <= followed
    else:
        assert not batched.history
