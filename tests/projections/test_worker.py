"""The worker: tables are the plain fold, whoever else is at work and wherever it is stopped."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from domain.deployment import DeploymentSucceeded
from eventstore.database import Row
from projections.catalogue import READ_MODELS
from projections.checkpoints import Superseded, positions
from projections.deployment_events import DEPLOYMENT_EVENTS
from projections.deployments import DEPLOYMENTS
from projections.feed import Feed
from projections.functions import FUNCTIONS
from projections.monitor import Monitor, ParkedEvents
from projections.parking import parked_events
from projections.projects import PROJECTS
from projections.read_model import AnyModel
from projections.recorded import Recorded
from projections.replay import Replayed, replay_parked
from projections.views import PostgresViews
from projections.worker import Worker
from tests.projections.conftest import Workshop
from tests.projections.history import CODEC, History, fold
from tests.projections.stories import STORIES, about_others, mingle
from tests.support import a

SERVED = f"projects_v{PROJECTS.version}"


def a_history(seed: int) -> list[Any]:
    """Every story once, mingled."""
    stories = [about_others(story, number) for number, story in enumerate(STORIES.values(), 1)]
    return mingle(stories, random.Random(seed))


async def assert_is_the_fold(workshop: Workshop, *models: AnyModel) -> None:
    for model in models or READ_MODELS:
        plain = {key: (row.position, row.raw) for key, row in (await fold(workshop.log, model)).items()}
        table = {key: (row.position, row.raw) for key, row in (await workshop.table(model)).items()}
        assert table == plain, model.name


async def finish(worker: Worker) -> None:
    while await worker.turn():
        pass


class Watched:
    """A database that calls `before` before, and `after` after, everything that is asked of it."""

    def __init__(self, database: Any, before: Callable[[], Awaitable[None]], after: Callable[[], Awaitable[None]]):
        self._database, self._before, self._after = database, before, after

    async def fetch(self, *args: Any) -> list[Row]:
        await self._before()
        rows: list[Row] = await self._database.fetch(*args)
        await self._after()
        return rows

    async def fetchrow(self, *args: Any) -> Row | None:
        await self._before()
        row: Row | None = await self._database.fetchrow(*args)
        await self._after()
        return row


class Killed(BaseException):
    """The process is no more."""


async def nothing() -> None:
    pass


class TestTurn:
    @pytest.mark.parametrize("batch_events_max", [1, 7, 5_000])
    async def test_leaves_every_read_model_as_the_plain_fold_does(
        self, workshop: Workshop, history: History, batch_events_max: int
    ) -> None:
        await history.record_together(a_history(seed=batch_events_max))

        await finish(await workshop.worker(feed=Feed(workshop.log, batch_events_max=batch_events_max)))

        await assert_is_the_fold(workshop)

    async def test_keeps_the_same_history_in_batches_as_one_by_one(self, workshop: Workshop, history: History) -> None:
        await history.record_together(a_history(seed=1))
        again = msgspec.structs.replace(DEPLOYMENTS, version=2)

        await finish(await workshop.worker(DEPLOYMENTS, feed=Feed(workshop.log, batch_events_max=1)))
        await finish(await workshop.worker(again, feed=Feed(workshop.log, batch_events_max=5_000)))

        assert await workshop.standing(DEPLOYMENTS) == await workshop.standing(again)
        assert await workshop.table(DEPLOYMENTS) == await workshop.table(again)

    async def test_goes_on_where_the_last_worker_stopped(self, workshop: Workshop, history: History) -> None:
        for part in _parts(a_history(seed=2), 3):
            await history.record_together(part)
            await workshop.catch_up()

        await assert_is_the_fold(workshop)

    async def test_skips_what_is_foreign(self, workshop: Workshop, history: History) -> None:
        await history.append(history.foreign(), history.event(a.project_created()))

        await workshop.catch_up()

        assert len(await workshop.table(PROJECTS)) == 1
        assert set((await positions(workshop.database)).values()) == {2}

    async def test_brings_a_version_that_is_behind_up_beside_the_others(
        self, workshop: Workshop, history: History
    ) -> None:
        await history.record(a.project_created(), a.function_created())
        await workshop.catch_up(PROJECTS, FUNCTIONS)
        newer = msgspec.structs.replace(PROJECTS, version=PROJECTS.version + 1)
        await history.record(a.project_renamed("Store"))

        worker = await workshop.worker(newer, FUNCTIONS)
        await finish(worker)

        await assert_is_the_fold(workshop, newer, FUNCTIONS)
        assert (await workshop.table(PROJECTS))[a.TENANT_ID, a.PROJECT_ID].row.name == "Shop"


class TestACrowd:
    async def test_is_gathered_while_nobody_waits(
        self, workshop: Workshop, history: History, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("projections.worker.GATHER_UNAWAITED_SECONDS", 120.0)
        monkeypatch.setattr("projections.worker.GATHER_EVENTS_MAX", 6)
        await history.record_together([a.project_created(), *[a.project_renamed(f"{n}") for n in range(3)]])
        reached: list[int] = []
        worker = await workshop.worker(
            PROJECTS, awaited=lambda: False, moved=lambda _kinds, position: reached.append(position)
        )

        turn = asyncio.create_task(worker.turn())
        await _until(lambda: reached == [4])
        for n in range(6):
            await history.record(a.project_renamed(f"again {n}"))
        await _until(lambda: worker.position == 10)
        turn.cancel()
        await asyncio.gather(turn, return_exceptions=True)

        assert reached == [4, 10]

    async def test_holds_up_nobody_who_waits(
        self, workshop: Workshop, history: History, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("projections.worker.GATHER_UNAWAITED_SECONDS", 120.0)
        await history.record_together([a.project_created(), *[a.project_renamed(f"{n}") for n in range(3)]])
        worker = await workshop.worker(PROJECTS, awaited=lambda: True)

        async with asyncio.timeout(60):
            await worker.turn()

        assert worker.position == 4


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.01)


def _parts(facts: list[Any], count: int) -> list[list[Any]]:
    size = len(facts) // count + 1
    return [facts[start : start + size] for start in range(0, len(facts), size)]


class TestFollow:
    async def test_tells_how_far_behind_it_is(self, workshop: Workshop, history: History) -> None:
        registry = CollectorRegistry()
        await history.record(a.project_created(), a.project_renamed("Store"))
        worker = await workshop.worker(PROJECTS, monitor=Monitor(registry))

        await worker._report()
        behind = registry.get_sample_value("dcf_projection_lag_events", {"model": SERVED})
        seconds = registry.get_sample_value("dcf_projection_lag_seconds", {"model": SERVED})
        await finish(worker)
        worker._report_due = 0.0
        await worker._report()

        assert behind == 2
        assert seconds is not None
        assert seconds > 0
        assert registry.get_sample_value("dcf_projection_lag_events", {"model": SERVED}) == 0
        assert registry.get_sample_value("dcf_projection_lag_seconds", {"model": SERVED}) == 0


class TestEpoch:
    async def test_one_that_was_superseded_changes_nothing(self, workshop: Workshop, history: History) -> None:
        await history.record(a.project_created())
        stale = await workshop.worker(PROJECTS)
        newest = await workshop.worker(PROJECTS)

        with pytest.raises(Superseded):
            await stale.turn()

        assert await workshop.table(PROJECTS) == {}
        assert await positions(workshop.database) == {SERVED: 0}
        await finish(newest)
        assert len(await workshop.table(PROJECTS)) == 1

    async def test_one_superseded_while_it_folds_changes_nothing(self, workshop: Workshop, history: History) -> None:
        """Goal: whatever has changed between reading the rows and writing them, the stale write is void.

        Method: before the write of the first worker the second one takes over and applies the same events.
        """
        await history.record(a.project_created())
        await workshop.catch_up(PROJECTS)
        await history.record(a.project_renamed("Store"))
        asked = itertools.count(1)

        async def take_over() -> None:
            if next(asked) == 4:  # Two questions at the start, the rows, and now the write.
                await finish(await workshop.worker(PROJECTS))

        stale = await workshop.worker(PROJECTS, database=Watched(workshop.database, take_over, nothing))
        with pytest.raises(Superseded):
            await stale.turn()

        await assert_is_the_fold(workshop, PROJECTS)
        assert len(await workshop.standing(PROJECTS)) == 2

    async def test_an_older_one_cannot_take_over(self, workshop: Workshop) -> None:
        older = Worker(
            PostgresViews(workshop.database),
            workshop.log,
            CODEC,
            [PROJECTS],
            epoch=0,
            monitor=Monitor(CollectorRegistry()),
        )
        await workshop.worker(PROJECTS)

        with pytest.raises(Superseded):
            await older.start()

    async def test_two_at_once_leave_the_rows_of_one(self, workshop: Workshop, history: History) -> None:
        """Goal: two workers by accident do each event once. Method: both run at once, and whoever loses starts again."""
        await history.record_together(a_history(seed=3))

        async def insist() -> None:
            for _ in range(20):
                try:
                    worker = await workshop.worker(feed=Feed(workshop.log, batch_events_max=10))
                    await finish(worker)
                except Superseded:
                    await asyncio.sleep(0.01)

        await asyncio.gather(insist(), insist())
        await workshop.catch_up()

        await assert_is_the_fold(workshop)


class TestKilled:
    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    async def test_at_any_question_to_the_database_the_next_worker_goes_on(
        self, workshop: Workshop, history: History, after: bool
    ) -> None:
        """Goal: rows, history and checkpoint never part. Method: the worker is ended at its first question to the
        database, the next at its second, and so on, until one reaches the end of the log."""
        await history.record_together(a_history(seed=4))
        for number in itertools.count(1):
            asked = itertools.count(1)

            async def die(asked: Any = asked, number: int = number) -> None:
                if next(asked) == number:
                    raise Killed

            watched = Watched(workshop.database, nothing if after else die, die if after else nothing)
            try:
                await finish(await workshop.worker(database=watched, feed=Feed(workshop.log, batch_events_max=40)))
                break
            except Killed:
                continue

        assert number > 5
        await assert_is_the_fold(workshop)


def fragile(model: AnyModel, faulty: Callable[[Recorded], bool]) -> AnyModel:
    """The model, with a fault: it cannot apply some events."""

    def project(row: Any, recorded: Recorded) -> Any:
        if faulty(recorded):
            raise ArithmeticError("wrong sum")
        return model.project(row, recorded)

    return msgspec.structs.replace(model, project=project)


def renamed_to_bad(recorded: Recorded) -> bool:
    return getattr(recorded.event, "name", "") == "Bad"


class TestParking:
    async def test_sets_aside_the_stream_and_goes_on_with_the_rest(self, workshop: Workshop, history: History) -> None:
        await history.record(
            a.project_created(),
            a.project_created(a.OTHER_PROJECT_ID, name="Other", slug="other"),
            a.project_renamed("Bad"),
            a.project_renamed("Good"),
            a.project_archived(a.OTHER_PROJECT_ID),
        )

        await workshop.catch_up(fragile(PROJECTS, renamed_to_bad), FUNCTIONS)

        table = await workshop.table(PROJECTS)
        assert table[a.TENANT_ID, a.PROJECT_ID].row.name == "Shop"
        assert table[a.TENANT_ID, a.OTHER_PROJECT_ID].row.status == "archived"
        parked = await parked_events(workshop.database, SERVED, limit=10)
        assert [(event.position, event.error) for event in parked] == [(3, "ArithmeticError: wrong sum"), (4, "")]
        assert set((await positions(workshop.database)).values()) == {5}

    async def test_still_holds_the_stream_in_later_batches_and_for_later_workers(
        self, workshop: Workshop, history: History
    ) -> None:
        model = fragile(PROJECTS, renamed_to_bad)
        await history.record(a.project_created(), a.project_renamed("Bad"))
        worker = await workshop.catch_up(model)
        await history.record(a.project_renamed("Good"))
        await finish(worker)
        await history.record(a.project_archived())

        await workshop.catch_up(model)

        assert (await workshop.table(PROJECTS))[a.TENANT_ID, a.PROJECT_ID].row.name == "Shop"
        parked = await parked_events(workshop.database, SERVED, limit=10)
        assert [event.position for event in parked] == [2, 3, 4]

    async def test_holds_events_of_other_streams_that_touch_a_row_of_a_parked_one(
        self, workshop: Workshop, history: History
    ) -> None:
        """Replayed later, the row still sees its events in order."""
        model = fragile(DEPLOYMENTS, lambda recorded: isinstance(recorded.event, DeploymentSucceeded))
        await history.record(*a.deployment_active())

        await workshop.catch_up(model)
        parked = await parked_events(workshop.database, DEPLOYMENTS.kind, limit=10)
        replayed = await replay_parked(workshop.database, workshop.log, CODEC, DEPLOYMENTS)

        assert [event.stream_id for event in parked] == [a.DEPLOYMENT_ID, a.FUNCTION_ID]
        assert replayed == Replayed(applied=2, left=0)
        await assert_is_the_fold(workshop, DEPLOYMENTS)

    async def test_sets_aside_what_cannot_be_decoded(self, workshop: Workshop, history: History) -> None:
        await history.append(
            history.unreadable(a.project_created()),
            history.event(a.project_created(a.OTHER_PROJECT_ID, name="Other", slug="other")),
        )

        await workshop.catch_up(PROJECTS)

        assert list(await workshop.table(PROJECTS)) == [(a.TENANT_ID, a.OTHER_PROJECT_ID)]
        parked = await parked_events(workshop.database, SERVED, limit=10)
        assert parked[0].error.startswith("UnreadableEvent")

    async def test_narrows_down_what_the_database_refuses(self, workshop: Workshop, history: History) -> None:
        """A text with a zero byte can be in an event and in a row, but not in a column."""
        await history.record_together(
            [
                a.project_created(a.id_of(100 + n), name="\0" if n == 5 else f"Shop {n}", slug=f"shop-{n}")
                for n in range(10)
            ]
        )

        await workshop.catch_up()

        assert len(await workshop.table(PROJECTS)) == 9
        parked = await parked_events(workshop.database, SERVED, limit=10)
        assert [event.position for event in parked] == [6]
        assert set((await positions(workshop.database)).values()) == {10}

    async def test_shows_in_the_checks(self, workshop: Workshop, history: History) -> None:
        monitor = Monitor(CollectorRegistry())
        await history.record(a.project_created(), a.project_renamed("Bad"))

        await finish(await workshop.worker(fragile(PROJECTS, renamed_to_bad), monitor=monitor))

        with pytest.raises(ParkedEvents, match=rf"{SERVED} \(1 streams\)"):
            await monitor.check_parked()


class TestReplayParked:
    async def test_applies_what_was_parked_once_the_fault_is_mended(self, workshop: Workshop, history: History) -> None:
        await history.record(a.project_created(), a.project_renamed("Bad"), a.project_archived())
        await workshop.catch_up(fragile(PROJECTS, renamed_to_bad))

        first = await replay_parked(workshop.database, workshop.log, CODEC, PROJECTS)
        second = await replay_parked(workshop.database, workshop.log, CODEC, PROJECTS)

        assert (first, second) == (Replayed(applied=2, left=0), Replayed(applied=0, left=0))
        await assert_is_the_fold(workshop, PROJECTS)
        assert len(await workshop.standing(PROJECTS)) == 3

    async def test_leaves_parked_what_fails_again(self, workshop: Workshop, history: History) -> None:
        model = fragile(PROJECTS, renamed_to_bad)
        await history.record(a.project_created(), a.project_renamed("Bad"), a.project_archived())
        await workshop.catch_up(model)

        assert await replay_parked(workshop.database, workshop.log, CODEC, model) == Replayed(applied=0, left=2)

    async def test_makes_a_worker_at_work_read_its_rows_again(self, workshop: Workshop, history: History) -> None:
        """The worker knows the stream as parked; after the replay it has to start over, and then goes on with it."""
        await history.record(a.project_created(), a.project_renamed("Bad"))
        worker = await workshop.catch_up(fragile(PROJECTS, renamed_to_bad))
        await replay_parked(workshop.database, workshop.log, CODEC, PROJECTS)
        await history.record(a.project_renamed("Good"))

        with pytest.raises(Superseded):
            await worker.turn()
        await worker.start()
        await finish(worker)

        await assert_is_the_fold(workshop, PROJECTS)

    async def test_does_nothing_for_a_model_without_a_table(self, workshop: Workshop) -> None:
        unknown = msgspec.structs.replace(DEPLOYMENT_EVENTS, version=99)
        assert await replay_parked(workshop.database, workshop.log, CODEC, unknown) == Replayed(applied=0, left=0)
