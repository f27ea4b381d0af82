"""Rows that small batches wrote: known to the next batch, bounded, and never older than the table."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from projections import recent_rows
from projections.checkpoints import Superseded
from projections.feed import Feed
from projections.functions import FUNCTIONS
from projections.projects import PROJECTS
from projections.recent_rows import RecentRows
from tests.projections.conftest import Workshop
from tests.projections.history import History
from tests.projections.test_worker import Watched, assert_is_the_fold, finish, nothing
from tests.support import a

_BEHIND_ITS_BACK = "UPDATE views.checkpoints SET generation = generation + 1 WHERE kind = $1"


class TestRecentRows:
    async def test_are_not_asked_for_again(self, workshop: Workshop, history: History) -> None:
        asked = itertools.count()

        async def count() -> None:
            next(asked)

        await history.record(a.project_created(), a.function_created())
        worker = await workshop.worker(PROJECTS, FUNCTIONS, database=Watched(workshop.database, count, nothing))
        await finish(worker)
        before = next(asked)

        await history.record(a.project_renamed("Store"), a.function_updated(description="new"))
        await finish(worker)

        assert next(asked) - before - 1 == 1  # The write.
        await assert_is_the_fold(workshop, PROJECTS, FUNCTIONS)

    async def test_what_a_stream_begins_with_is_not_asked_for(self, workshop: Workshop, history: History) -> None:
        asked = itertools.count()

        async def count() -> None:
            next(asked)

        worker = await workshop.worker(PROJECTS, FUNCTIONS, database=Watched(workshop.database, count, nothing))
        before = next(asked)
        await history.record(a.project_created(), a.function_created())
        await finish(worker)

        assert next(asked) - before - 1 == 1  # The write.
        await assert_is_the_fold(workshop, PROJECTS, FUNCTIONS)

    async def test_keep_what_a_row_was_in_the_history(self, workshop: Workshop, history: History) -> None:
        await history.record(a.project_created())
        worker = await workshop.worker(PROJECTS, feed=Feed(workshop.log, batch_events_max=1))
        for number in range(5):
            await history.record(a.project_renamed(f"Store {number}"))
            await finish(worker)

        assert len(await workshop.standing(PROJECTS)) == 6
        await assert_is_the_fold(workshop, PROJECTS)

    async def test_are_nothing_to_go_by_once_somebody_else_has_changed_rows(
        self, workshop: Workshop, history: History
    ) -> None:
        await history.record(a.project_created())
        worker = await workshop.worker(PROJECTS)
        await finish(worker)
        await workshop.database.execute(_BEHIND_ITS_BACK, PROJECTS.kind)
        await history.record(a.project_renamed("Store"))

        with pytest.raises(Superseded):
            await finish(worker)
        await worker.start()

        assert worker._recent.of(PROJECTS.kind) == {}
        await finish(worker)
        await assert_is_the_fold(workshop, PROJECTS)

    async def test_of_a_large_batch_are_left_to_the_table(
        self, workshop: Workshop, history: History, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(recent_rows, "BATCH_EVENTS_MAX", 3)
        await history.record(a.project_created())
        worker = await workshop.worker(PROJECTS)
        await finish(worker)
        assert worker._recent.of(PROJECTS.kind)
        await history.record_together([a.project_renamed(f"Store {n}") for n in range(4)])

        await finish(worker)

        assert worker._recent.of(PROJECTS.kind) == {}
        await assert_is_the_fold(workshop, PROJECTS)

    async def test_are_few(self, workshop: Workshop, history: History, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(recent_rows, "ROWS_MAX", 2)
        worker = await workshop.worker(PROJECTS, feed=Feed(workshop.log, batch_events_max=1))
        for number in range(4):
            await history.record(a.project_created(a.id_of(50 + number), name=f"p{number}", slug=f"p{number}"))

        await finish(worker)

        kept: Any = worker._recent.of(PROJECTS.kind)
        assert [id for _, id in kept] == [a.id_of(52), a.id_of(53)]
        assert RecentRows().of(PROJECTS.kind) == {}
