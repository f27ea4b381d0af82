"""A fold in batches of any size is the plain fold."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore.codec import tag_of
from eventstore.log import StoredEvent
from projections.catalogue import READ_MODELS
from projections.fold import Fold, Folded
from projections.handing_out import HandingOut
from projections.parking import ParkedStreams
from projections.projects import PROJECTS
from projections.read_model import AnyModel
from projections.rebuild.lane import _of_lane
from projections.row_changes import LINE, restored
from tests.projections.history import CODEC, History, fold, memory_log
from tests.projections.rebuild.test_lane_process import an_order
from tests.projections.stories import STORIES, about_others, mingle
from tests.support import a


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

    def as_of(self, position: int) -> dict[Any, bytes]:
        """The rows that stood at a position, by the history and the present rows."""
        past = {key[:2]: self._version(*key) for key, (end, _) in self.history.items() if key[2] <= position < end}
        return past | {key: row for key, (_, start, row) in self.rows.items() if start <= position}

    def _version(self, tenant_id: UUID, id: UUID, valid_from: int) -> bytes:
        """By all that is kept of what followed it, as far as the next version that is whole."""
        links: list[bytes] = []
        later = sorted(key for key in self.history if key[:2] == (tenant_id, id) and key[2] >= valid_from)
        for key in later:
            links.append(self.history[key][1])
            if not links[-1].startswith(LINE):
                break
        else:
            links.append(self.rows[tenant_id, id][2])
        return restored(b"".join(reversed(links)))


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


@pytest.mark.parametrize("model", [model for model in READ_MODELS if model.keeps_history], ids=lambda model: model.name)
@settings(max_examples=10, deadline=None)
@given(
    chosen=st.lists(st.sampled_from(sorted(STORIES)), min_size=1, max_size=2),
    chance=st.randoms(use_true_random=False),
    size=st.integers(1, 40),
)
async def test_what_stood_at_any_position_is_what_a_snapshot_taken_then_showed(
    model: AnyModel, chosen: list[str], chance: random.Random, size: int
) -> None:
    log = memory_log()
    stories = [about_others(STORIES[name], number) for number, name in enumerate(chosen, 1)]
    await History(log).record_together(mingle(stories, chance))
    events = await log.read(0, limit=10_000)
    batched, growing = Table(model), Table(model)
    for start in range(0, len(events), size):
        batched.apply(events[start : start + size])

    for event in events:
        growing.apply([event])
        snapshot = {key: content for key, (_, _, content) in growing.rows.items()}
        assert batched.as_of(event.position) == snapshot


@pytest.mark.parametrize(
    "model", [model for model in READ_MODELS if not model.append_only], ids=lambda model: model.name
)
@settings(max_examples=10, deadline=None)
@given(
    chosen=st.lists(st.sampled_from(sorted(STORIES)), min_size=1, max_size=3),
    chance=st.randoms(use_true_random=False),
    lanes=st.integers(2, 5),
)
async def test_lanes_that_each_see_their_share_make_the_whole(
    model: AnyModel, chosen: list[str], chance: random.Random, lanes: int
) -> None:
    log = memory_log()
    stories = [about_others(STORIES[name], number) for number, name in enumerate(chosen, 1)]
    await History(log).record_together(mingle(stories, chance))
    events = await log.read(0, limit=10_000)
    strays = {tag_of(event) for event in model.strays}
    rows: dict[Any, tuple[int, int, bytes]] = {}

    for lane in range(lanes):
        seen = [e for e in events if e.stream_id.bytes[15] % lanes == lane or e.type in strays]
        table = Table(_of_lane(model, an_order(lane=lane, lanes=lanes)))
        if seen:
            table.apply(seen)
        assert not rows.keys() & table.rows.keys()
        rows |= table.rows

    plain = {key: (row.first_position, row.position, row.raw) for key, row in (await fold(log, model)).items()}
    assert rows == plain


async def test_sets_aside_what_makes_a_row_under_another_streams_id_undeclared() -> None:
    """Goal: that a row is not looked up when its stream begins is never a guess. Method: a model whose rows are said to be
    made by their own streams, and are not."""
    log = memory_log()
    await History(log).record(a.project_created())
    model = msgspec.structs.replace(PROJECTS, keys=lambda _: (a.id_of(77),), elsewhere=())

    batch = Fold(model, ParkedStreams())
    HandingOut(CODEC, [batch]).give(await log.read(0, limit=10))
    folded = batch.finish()

    assert [parked.error.partition(":")[0] for parked in folded.parked] == ["NotItsOwn"]
    assert not folded.added
