"""The feed: everything that is wanted, once and in order, in batches as large as they may be."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from eventstore.log import StoredEvent
from projections.feed import Feed
from tests.projections.history import History, memory_log
from tests.support import a

_LARGE = 20
_EVENTS = 600


async def _batches(feed: Feed, without: tuple[str, ...]) -> list[list[StoredEvent]]:
    batches: list[list[StoredEvent]] = []
    while batch := await feed.read(batches[-1][-1].position if batches else 0, up_to=None, without=without):
        batches.append(batch)
    await feed.close()
    return batches


def _spans(batches: list[list[StoredEvent]]) -> list[int]:
    ends = [0, *(batch[-1].position for batch in batches)]
    return [end - begin for begin, end in pairwise(ends)]


async def _feed(wanted_one_in: int) -> Feed:
    log = memory_log()
    facts: list[Any] = [
        a.project_renamed(f"P{n}") if n % wanted_one_in else a.project_created(a.id_of(n)) for n in range(_EVENTS)
    ]
    await History(log).record_together(facts)
    return Feed(log, batch_events_max=_LARGE)


class TestFeed:
    async def test_passes_over_what_nobody_wants_to_fill_a_batch(self) -> None:
        batches = await _batches(await _feed(wanted_one_in=2), ("project.renamed",))

        wanted = [event.position for batch in batches for event in batch if event.type == "project.created"]
        assert wanted == list(range(1, _EVENTS, 2))
        assert max(len(batch) for batch in batches) in (_LARGE, _LARGE + 1)  # The last tells how far it is.
        assert max(_spans(batches)) > 3 * _LARGE // 2

    async def test_passes_over_no_more_than_a_batch_may_come_to_hold(self) -> None:
        batches = await _batches(await _feed(wanted_one_in=50), ("project.renamed",))

        assert max(_spans(batches)) == 2 * _LARGE

    async def test_passes_over_nothing_where_all_are_wanted(self) -> None:
        batches = await _batches(await _feed(wanted_one_in=2), ())

        assert [event.position for batch in batches for event in batch] == list(range(1, _EVENTS + 1))
        assert max(map(len, batches)) == _LARGE
