"""What a worker asks of the store of read models: the same of the one in PostgreSQL and of the one in memory."""

from __future__ import annotations

import itertools
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from eventstore.log import Log
from projections.catalogue import READ_MODELS
from projections.checkpoints import Superseded
from projections.deployments import DEPLOYMENTS
from projections.feed import Feed
from projections.fold import Fold
from projections.memory_reader import MemoryReader
from projections.memory_tables import MemoryTables
from projections.memory_views import MemoryViews, MemoryViewsReader
from projections.monitor import Monitor
from projections.parking import parked_events
from projections.projects import PROJECT, PROJECTS
from projections.query import Found
from projections.read_model import AnyModel
from projections.recorded import Recorded
from projections.tables import install
from projections.views import PostgresViews, Views
from projections.worker import Worker
from tests.projections.conftest import Workshop
from tests.projections.history import CODEC, History, memory_log
from tests.projections.stories import STORIES, about_others, mingle
from tests.support import a

Version = tuple[Any, ...]


class Store(Protocol):
    """A log, the views made of it, and a look at what these hold."""

    log: Log
    views: Views

    async def install(self, models: Sequence[AnyModel]) -> None: ...
    async def table(self, model: AnyModel) -> dict[Any, Found[Any]]: ...
    async def standing(self, model: AnyModel) -> list[Version]: ...
    async def parked_positions(self, kind: str) -> list[int]: ...


def standing_in(tables: MemoryTables, model: AnyModel) -> list[Version]:
    """Every version of the model's rows, in order: tenant, id, from, to, JSON."""
    found: list[Version] = []
    for key in {*tables.of(model), *tables.keys(model)}:
        versions = [*tables.versions(model, key), (None, None)]
        found += [(*key, start, end, row.raw) for (start, row), (end, _) in itertools.pairwise(versions) if row]
    return sorted(found, key=lambda version: version[:3])


class InMemory:
    def __init__(self) -> None:
        self.kept = MemoryViews()
        self.log: Log = memory_log()
        self.views: Views = self.kept

    async def install(self, models: Sequence[AnyModel]) -> None:
        pass

    async def table(self, model: AnyModel) -> dict[Any, Found[Any]]:
        return self.kept.tables.of(model)

    async def standing(self, model: AnyModel) -> list[Version]:
        return standing_in(self.kept.tables, model)

    async def parked_positions(self, kind: str) -> list[int]:
        return [event.position for event in self.kept.parked_events(kind)]


class InPostgres:
    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        self.log: Log = workshop.log
        self.views: Views = PostgresViews(workshop.database)
        self.table, self.standing = workshop.table, workshop.standing

    async def install(self, models: Sequence[AnyModel]) -> None:
        await install(self.workshop.database, models, ())

    async def parked_positions(self, kind: str) -> list[int]:
        return [event.position for event in await parked_events(self.workshop.database, kind, limit=100)]


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> Store:
    return InMemory() if request.param == "memory" else InPostgres(request.getfixturevalue("workshop"))


@pytest.fixture
def history(store: Store) -> History:
    return History(store.log)


async def worker_of(
    store: Store, epoch: int, *models: AnyModel, views: Views | None = None, batch_events_max: int = 5_000
) -> Worker:
    chosen = models or READ_MODELS
    await store.install(chosen)
    feed = Feed(store.log, batch_events_max=batch_events_max)
    monitor = Monitor(CollectorRegistry())
    worker = Worker(views or store.views, store.log, CODEC, chosen, epoch=epoch, monitor=monitor, feed=feed)
    await worker.start()
    return worker


async def finish(worker: Worker) -> None:
    while await worker.turn():
        pass


def a_history(seed: int) -> list[Any]:
    stories = [about_others(story, number) for number, story in enumerate(STORIES.values(), 1)]
    return mingle(stories, random.Random(seed))


async def assert_is_the_fold(store: Store, *models: AnyModel) -> None:
    plain = MemoryReader(store.log, CODEC)
    await plain.wait_for(0, seconds_max=0)
    for model in models or READ_MODELS:
        rows = {key: (row.first_position, row.position, row.raw) for key, row in plain.table(model).items()}
        kept = {key: (row.first_position, row.position, row.raw) for key, row in (await store.table(model)).items()}
        assert kept == rows, model.name
        if model.keeps_history:
            assert await store.standing(model) == standing_in(plain.tables, model), model.name


class Killed(BaseException):
    """The process is no more."""


class Watched:
    """Views that call `before` before, and `after` after, everything that is asked of them."""

    def __init__(self, views: Views, before: Callable[[], None], after: Callable[[], None]) -> None:
        self._views, self._before, self._after = views, before, after

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._views, name)

        async def watched(*args: Any) -> Any:
            self._before()
            answer = await method(*args)
            self._after()
            return answer

        return watched


def nothing() -> None:
    pass


class TestViews:
    @pytest.mark.parametrize("batch_events_max", [7, 5_000])
    async def test_hold_rows_and_history_as_the_plain_fold_makes_them(
        self, store: Store, history: History, batch_events_max: int
    ) -> None:
        await history.record_together(a_history(seed=batch_events_max))

        await finish(await worker_of(store, 1, batch_events_max=batch_events_max))

        await assert_is_the_fold(store)

    async def test_lose_nothing_when_the_worker_is_killed_at_any_question(self, store: Store, history: History) -> None:
        """*Method:* the first worker is ended before its first question, the next after its second, until one is not."""
        await history.record_together(a_history(seed=4))
        for number in itertools.count(1):
            asked = itertools.count(1)

            def die(asked: Any = asked, number: int = number) -> None:
                if next(asked) == number:
                    raise Killed

            watched: Any = Watched(store.views, die if number % 2 else nothing, nothing if number % 2 else die)
            try:
                await finish(await worker_of(store, number, views=watched, batch_events_max=80))
                break
            except Killed:
                continue

        assert number > 5
        await assert_is_the_fold(store)

    async def test_change_nothing_for_a_worker_that_was_superseded(self, store: Store, history: History) -> None:
        await history.record(a.project_created())
        stale = await worker_of(store, 1, PROJECTS)
        newest = await worker_of(store, 2, PROJECTS)

        with pytest.raises(Superseded):
            await stale.turn()
        with pytest.raises(Superseded):
            await worker_of(store, 1, PROJECTS)

        assert await store.table(PROJECTS) == {}
        assert (await store.views.positions())[PROJECTS.kind] == 0
        await finish(newest)
        await assert_is_the_fold(store, PROJECTS)
        assert (await store.views.positions())[PROJECTS.kind] == 1
        assert PROJECTS.kind in await store.views.served()

    async def test_change_nothing_where_the_rows_were_read_elsewhere(self, store: Store, history: History) -> None:
        """*Method:* two workers under one epoch, the second of which has not seen that the first went on."""
        await history.record(a.project_created())
        first, second = await worker_of(store, 1, PROJECTS), await worker_of(store, 1, PROJECTS)
        await finish(first)

        with pytest.raises(Superseded):
            await second.turn()

        await assert_is_the_fold(store, PROJECTS)

    async def test_keep_what_is_parked_from_worker_to_worker(self, store: Store, history: History) -> None:
        def project(row: Any, recorded: Recorded) -> Any:
            if getattr(recorded.event, "name", "") == "Bad":
                raise ArithmeticError("wrong sum")
            return PROJECTS.project(row, recorded)

        model = msgspec.structs.replace(PROJECTS, project=project)
        await history.record(a.project_created(), a.project_renamed("Bad"))
        await finish(await worker_of(store, 1, model))
        await history.record(a.project_renamed("Good"))

        await finish(await worker_of(store, 2, model))

        assert (await store.table(PROJECTS))[a.TENANT_ID, a.PROJECT_ID].row.name == "Shop"
        assert await store.parked_positions(PROJECTS.kind) == [2, 3]

    async def test_give_a_fold_the_rows_it_wants(self, store: Store, history: History) -> None:
        await history.record(*a.deployment_active())
        await finish(await worker_of(store, 1, DEPLOYMENTS))
        fold = Fold(DEPLOYMENTS, (await store.views.parked([DEPLOYMENTS.kind]))[DEPLOYMENTS.kind], again=True)
        [event] = await store.log.load([a.deployment_queued().stream])
        fold.take([Recorded(None, *_place(event[0]))])  # type: ignore[arg-type]

        await store.views.load([fold])

        [row] = fold.rows.values()
        assert row.row == (await store.table(DEPLOYMENTS))[a.TENANT_ID, a.DEPLOYMENT_ID].row


def _place(stored: Any) -> tuple[Any, ...]:
    return stored.tenant_id, stored.stream_id, stored.version, stored.position, stored.recorded_at, stored.meta


class TestMemoryViewsReader:
    async def test_sees_no_more_than_the_worker_has_written(self) -> None:
        store = InMemory()
        reader = MemoryViewsReader(store.kept)
        position = await History(store.log).record(a.project_created())
        worker = await worker_of(store, 1)

        before = (
            await reader.wait_for(position, (PROJECT,), seconds_max=0),
            await reader.rows(PROJECT, a.TENANT_ID, a.PROJECT_ID),
        )
        await finish(worker)
        after = await reader.wait_for(position, seconds_max=0), await reader.rows(PROJECT, a.TENANT_ID, a.PROJECT_ID)

        assert before == (False, [])
        assert after == (True, await MemoryReader(store.log, CODEC).rows(PROJECT, a.TENANT_ID, a.PROJECT_ID))
