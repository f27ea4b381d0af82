"""Whoever reads the log from its beginning: goes on in the archive, or is told that parts are missing. Nobody gets less."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from eventsourcing.application import Application
from eventsourcing.persistence import OperationalError
from eventsourcing.utils import Environment

from audit.replay import replay
from audit.verification import Parts, verify
from commands.basis import CODEC
from domain.catalogue import AGGREGATES
from eventstore.archive.reading import Archive
from eventstore.archive.returning import put_back
from eventstore.archived import EventsArchived
from eventstore.bridge import Factory
from eventstore.canonical import encode_canonical
from eventstore.database import Pool, connect
from eventstore.tree.keeping import take_in
from eventstore.tree.tree import root
from projections.catalogue import READ_MODELS
from projections.projects import PROJECTS
from projections.reach import still_reading
from tests.eventstore.archive.conftest import PROJECT_STREAM, Place, deployment
from tests.eventstore.bridge.environments import environment
from tests.eventstore.test_partitions import SIZE
from tests.eventstore.tree import textbook
from tests.eventstore.tree.conftest import a_keeper
from tests.projections.conftest import Workshop
from tests.projections.rebuild.conftest import Rebuilds
from tests.support import a

MAPPER = {"MAPPER_TOPIC": "eventstore.bridge:EventMapper"}


def bridge(place: Place, tenant_id: UUID | None = None, **more: str) -> Factory:
    env = environment(place.url, tenant_id) | {"DCF_ARCHIVE_DIR": str(place.directory)} | more
    return Factory(Environment("Tool", env))


class TestBridge:
    @pytest.mark.parametrize("tenant_id", [None, a.TENANT_ID], ids=["all tenants", "one tenant"])
    async def test_reads_on_from_the_archive_into_the_log(self, place: Place, tenant_id: UUID | None) -> None:
        await place.archive()

        with bridge(place, tenant_id) as factory:
            seen = factory.application_recorder().select_notifications(None, 1_000)

        assert [notification.id for notification in seen] == [event.position for event in place.events]

    async def test_finds_topics_and_stops_where_it_is_told(self, place: Place) -> None:
        await place.archive()

        with bridge(place) as factory:
            recorder = factory.application_recorder()
            renamed = [n.id for n in recorder.select_notifications(None, 1_000, topics=["project.renamed"])]
            some = [n.id for n in recorder.select_notifications(3, 4)]
            few = [n.id for n in recorder.select_notifications(3, 100, stop=2 * SIZE)]

        assert renamed == [event.position for event in place.events if event.type == "project.renamed"]
        assert some == [3, 4, 5, 6]
        assert few == list(range(3, 2 * SIZE + 1))

    async def test_selects_the_events_of_a_stream_that_left(self, place: Place) -> None:
        await place.archive()
        id = deployment(3).id

        with bridge(place) as factory:
            recorder = factory.application_recorder()
            assert [e.originator_version for e in recorder.select_events(id)] == [1, 2, 3]
            assert [e.originator_version for e in recorder.select_events(id, desc=True, limit=1)] == [3]
            assert [e.originator_version for e in recorder.select_events(id, gt=1, lte=2)] == [2]

    async def test_follows_from_the_beginning(self, place: Place) -> None:
        await place.archive()

        with bridge(place) as factory, factory.application_recorder().subscribe(gt=0) as subscription:
            seen = [next(subscription).id for _ in place.events]

        assert seen == [event.position for event in place.events]

    async def test_without_an_archive_says_what_is_missing(self, place: Place) -> None:
        await place.archive()

        with bridge(place, DCF_ARCHIVE_DIR="") as factory:
            recorder = factory.application_recorder()
            with pytest.raises(OperationalError, match="DCF_ARCHIVE_DIR"):
                recorder.select_notifications(None, 10)
            with pytest.raises(OperationalError, match="DCF_ARCHIVE_DIR"):
                recorder.select_events(deployment(3).id)
            assert len(recorder.select_events(PROJECT_STREAM.id)) == len(place.of(PROJECT_STREAM))

    async def test_reads_archived_facts_as_our_own_events(self, place: Place) -> None:
        await place.archive()
        env = environment(place.url, a.TENANT_ID) | MAPPER | {"DCF_ARCHIVE_DIR": str(place.directory)}

        with Application[UUID](env) as app:
            facts: list[Any] = list(app.events.get(deployment(3).id))

        assert [type(fact).__name__ for fact in facts] == ["DeploymentQueued", "DeploymentClaimed", "DeploymentFailed"]


class TestReplay:
    async def test_replays_a_deployment_that_left(self, place: Place) -> None:
        before = await asyncio.to_thread(replay, {"DCF_DATABASE_URL": place.url}, deployment(3).id)
        await place.archive()

        env = {"DCF_DATABASE_URL": place.url, "DCF_ARCHIVE_DIR": str(place.directory)}
        after = await asyncio.to_thread(replay, env, deployment(3).id)

        assert after == before
        assert after.state.status == "failed"


class TestVerify:
    async def test_says_that_parts_are_missing_instead_of_what_differs(self, place: Place, database: Pool) -> None:
        await place.archive()
        parts = Parts(database=database, log=place.log, codec=CODEC, aggregates=AGGREGATES, models=READ_MODELS)

        with pytest.raises(EventsArchived):
            await verify(parts, lambda _progress: None)


@pytest.fixture
def workshop(database: Pool, place: Place) -> Workshop:
    return Workshop(database, place.log)


@pytest.fixture
async def rebuilds(workshop: Workshop, database_url: str) -> AsyncIterator[Rebuilds]:
    async with connect(database_url, role="dcf_engine", size_max=6) as pool:
        yield Rebuilds(workshop, pool)


class TestReadModels:
    async def test_that_are_behind_keep_the_log_where_it_is(
        self, place: Place, database: Pool, workshop: Workshop
    ) -> None:
        assert await still_reading(database, SIZE) == []
        worker = await workshop.worker(PROJECTS)
        await worker.turn(up_to=3)

        assert await still_reading(database, SIZE) == [f"{PROJECTS.kind} is at position 3"]
        await workshop.catch_up(PROJECTS)
        assert await still_reading(database, SIZE) == []

    async def test_go_on_as_if_nothing_had_left(self, place: Place, database: Pool, workshop: Workshop) -> None:
        await workshop.catch_up(PROJECTS)
        before = await workshop.table(PROJECTS)

        await place.archive()

        await workshop.catch_up(PROJECTS)
        assert await workshop.table(PROJECTS) == before

    async def test_are_rebuilt_once_everything_is_put_back(
        self, place: Place, workshop: Workshop, rebuilds: Rebuilds
    ) -> None:
        await workshop.catch_up()
        await place.archive()

        failed = await rebuilds.carry_out(await rebuilds.request(PROJECTS), PROJECTS)
        await put_back(place.owner, Archive.open(place.directory), first=1, tell=lambda _text: None)
        done = await rebuilds.rebuild(PROJECTS)

        assert (failed.step, "dcf log unarchive" in failed.problem) == ("failed", True)
        assert await workshop.table(done) == await workshop.table(PROJECTS)


async def test_the_tree_takes_in_what_was_archived_before_there_was_one(
    place: Place, database: Pool, tmp_path: Path
) -> None:
    await place.archive()
    blind = a_keeper(place.log, database, tmp_path)
    keeper = a_keeper(place.log, database, tmp_path, archive=place.directory)

    with pytest.raises(EventsArchived) as told:
        await take_in(blind)
    assert "DCF_ARCHIVE_DIR" in told.value.remedy
    await take_in(keeper)

    entries = [encode_canonical(event) for event in place.events]
    assert await keeper.tree.size() == len(entries)
    assert await root(keeper.tree, len(entries)) == textbook.tree_hash(entries)


async def test_the_tree_stays_when_what_it_is_of_leaves(place: Place, database: Pool, tmp_path: Path) -> None:
    keeper = a_keeper(place.log, database, tmp_path)
    await take_in(keeper)
    before = await root(keeper.tree, len(place.events))

    await place.archive()
    await take_in(keeper)

    assert await root(keeper.tree, len(place.events)) == before
