"""Whoever reads the log from its beginning: goes on in the archive, or is told that parts are missing. Nobody gets less."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from eventsourcing.application import Application
from eventsourcing.persistence import OperationalError
from eventsourcing.utils import Environment

from audit.dry_run import dry_run
from audit.export_folder import ExportFolder
from audit.export_format import Part as ExportedPart
from audit.findings import Findings
from audit.replay import replay
from audit.stream_check import StreamCheck
from audit.verification import Parts, verify
from audit.whole_export import export_whole, plan_whole
from commands.basis import CODEC
from domain.catalogue import AGGREGATES
from eventstore.archive.reading import Archive
from eventstore.archive.returning import put_back
from eventstore.archive.whole import Shelf
from eventstore.archived import EventsArchived
from eventstore.bridge import Factory
from eventstore.canonical import encode_canonical
from eventstore.database import Pool, connect
from eventstore.tenant_events import PostgresTenantEvents
from eventstore.tree.keeping import take_in
from eventstore.tree.tree import root
from projections.audit_trail import AUDIT_TRAIL
from projections.catalogue import READ_MODELS
from projections.deployments import DEPLOYMENTS
from projections.projects import PROJECTS
from projections.reach import still_reading
from projections.rebuild.lane_process import Assignment, lane_processes
from projections.rebuild.verification import Findings as RebuildFindings
from tests.eventstore.archive.conftest import PROJECT_STREAM, Place, deployment, ids
from tests.eventstore.bridge.environments import environment
from tests.eventstore.test_partitions import SIZE
from tests.eventstore.tree import textbook
from tests.eventstore.tree.conftest import a_keeper
from tests.projections.conftest import Workshop
from tests.projections.rebuild.conftest import Rebuilds
from tests.support import a

MODELS = (DEPLOYMENTS, PROJECTS, AUDIT_TRAIL)

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
    def parts(self, place: Place, database: Pool, directory: Path | None) -> Parts:
        return Parts(
            database=database,
            log=place.log,
            codec=CODEC,
            aggregates=AGGREGATES,
            models=READ_MODELS,
            shelf=Shelf(directory),
        )

    async def test_says_that_parts_are_missing_instead_of_what_differs(self, place: Place, database: Pool) -> None:
        await place.archive()

        with pytest.raises(EventsArchived):
            await verify(self.parts(place, database, None), lambda _progress: None)

    async def test_finds_the_same_whether_parts_are_archived_or_not(
        self, place: Place, database: Pool, workshop: Workshop
    ) -> None:
        """*Method:* all of it, one tenant's, and a stream that left; before and after."""
        await workshop.catch_up()
        left, parts = deployment(3).id, self.parts(place, database, place.directory)
        asked: list[dict[str, Any]] = [{}, {"tenant_id": a.TENANT_ID}, {"streams": [left]}]
        before = [await verify(parts, lambda _progress: None, **one) for one in asked]

        await place.archive()
        after = [await verify(parts, lambda _progress: None, **one) for one in asked]

        assert [one.differences for one in before] == [[], [], []]
        assert [one.differences for one in after] == [[], [], []]
        assert [one.checked for one in after] == [one.checked for one in before]

    async def test_finds_what_differs_in_what_was_archived(
        self, place: Place, database: Pool, workshop: Workshop
    ) -> None:
        await workshop.catch_up()
        await place.archive()
        left = deployment(3).id
        await database.execute(f"UPDATE views.{DEPLOYMENTS.kind} SET position = position + 1 WHERE id = $1", left)
        await place.owner.execute("UPDATE log.streams SET version = version + 1 WHERE stream_id = $1", left)

        findings = await verify(self.parts(place, database, place.directory), lambda _progress: None)

        told = {(one.where, one.id) for one in findings.differences}
        assert {("streams", str(left)), (DEPLOYMENTS.name, str(left))} <= told

    async def test_streams_are_looked_at_in_lanes_that_fit_into_memory(self, place: Place, database: Pool) -> None:
        await place.archive()
        whole, parted = Findings(), Findings()
        for findings, held in ((whole, 100_000), (parted, 7)):
            check = StreamCheck(
                database,
                CODEC,
                AGGREGATES,
                findings,
                lambda _progress: None,
                shelf=Shelf(place.directory),
                archived_held_max=held,
            )
            await check.run(None)

        assert (whole.differences, parted.differences) == ([], [])
        assert whole.checked == parted.checked
        assert whole.checked["streams"] == len(ids(place.events))


class TestExport:
    async def test_is_the_same_whether_parts_are_archived_or_not(
        self, place: Place, database: Pool, tmp_path: Path
    ) -> None:
        before = await self.exported(place, database, tmp_path / "before")
        await place.archive()
        after = await self.exported(place, database, tmp_path / "after")

        assert after == before
        assert sum(part.lines for part in after if part.kind == "events") == len(place.events)
        with pytest.raises(EventsArchived):
            await self.exported(place, database, tmp_path / "blind", shelf=None)

    async def exported(self, place: Place, database: Pool, folder: Path, **more: Any) -> tuple[ExportedPart, ...]:
        target = ExportFolder(folder)
        begun = target.begin(await plan_whole(database, release="1"))
        given = {"shelf": Shelf(place.directory), **more}
        manifest = await export_whole(
            database, target, begun, lambda _position: None, made_at="now", lines_max=9, **given
        )
        return manifest.parts


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

    async def test_are_rebuilt_from_the_files_too(self, place: Place, workshop: Workshop, rebuilds: Rebuilds) -> None:
        """*Method:* a model of a row a stream, one whose rows tell of many streams, and one that makes a row of each
        event; compared with what stood there before anything was archived, and refolded in samples."""
        await workshop.catch_up()
        before = {model.kind: await workshop.table(model) for model in MODELS}
        await place.archive()

        for model in MODELS:
            job = await rebuilds.request(model)
            ended = await rebuilds.carry_out(job, model, shelf=Shelf(place.directory), lanes=2)

            assert (ended.step, ended.problem) == ("done", "")
            findings = msgspec.json.decode(ended.findings or b"", type=RebuildFindings)
            assert (findings.wrong, findings.differing, findings.compared) == ([], [], True)
            assert findings.refolded > 0
            assert await workshop.table(await rebuilds.served(model)) == before[model.kind]

    async def test_are_rebuilt_from_the_files_by_processes_of_their_own(
        self, place: Place, workshop: Workshop, rebuilds: Rebuilds
    ) -> None:
        await workshop.catch_up()
        before = await workshop.table(DEPLOYMENTS)
        await place.archive()

        async with lane_processes() as lanes:
            job = await rebuilds.carry_out(
                await rebuilds.request(DEPLOYMENTS),
                DEPLOYMENTS,
                shelf=Shelf(place.directory),
                lanes=2,
                launch=lambda order: lanes.run(Assignment(place.url, 100, order, archive_dir=str(place.directory))),
            )

        assert (job.step, job.problem) == ("done", "")
        assert await workshop.table(await rebuilds.served(DEPLOYMENTS)) == before

    async def test_that_differ_from_the_files_are_found(
        self, place: Place, workshop: Workshop, rebuilds: Rebuilds, database: Pool
    ) -> None:
        """A build that was made wrong is not served, though what it is wrong about has left the database."""
        await workshop.catch_up()
        await place.archive()
        left = deployment(3).id
        await database.execute(f"DELETE FROM views.{DEPLOYMENTS.kind} WHERE id = $1", left)

        ended = await rebuilds.carry_out(
            await rebuilds.request(DEPLOYMENTS, "verify"), DEPLOYMENTS, shelf=Shelf(place.directory)
        )

        findings = msgspec.json.decode(ended.findings or b"", type=RebuildFindings)
        assert [text.split("/")[1] for text in findings.differing] == [str(left)]
        assert findings.wrong == []  # It is the build that is served which is.

    async def test_are_not_rebuilt_from_a_damaged_file(
        self, place: Place, workshop: Workshop, rebuilds: Rebuilds
    ) -> None:
        await workshop.catch_up()
        await place.archive()
        first = min(place.directory.glob("*.gz"))
        first.write_bytes(first.read_bytes()[:-20])

        ended = await rebuilds.carry_out(await rebuilds.request(PROJECTS), PROJECTS, shelf=Shelf(place.directory))

        assert ended.step == "failed"
        assert first.name in ended.problem

    async def test_a_changed_one_is_compared_with_the_files(
        self, place: Place, database: Pool, workshop: Workshop
    ) -> None:
        await workshop.catch_up()
        await place.archive()
        left = deployment(3).id
        await database.execute(f"DELETE FROM views.{DEPLOYMENTS.kind} WHERE id = $1", left)

        _, findings = await dry_run(database, CODEC, DEPLOYMENTS, lambda _progress: None, shelf=Shelf(place.directory))

        assert [(one.problem, one.id) for one in findings.differences] == [("missing", str(left))]
        with pytest.raises(EventsArchived, match="archived"):
            await dry_run(database, CODEC, DEPLOYMENTS, lambda _progress: None)

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


class TestTenantsOwn:
    async def test_reads_on_from_the_archive(self, place: Place, database_url: str) -> None:
        """*Method:* as the API reads, from two positions: one that is archived, one that is archived in the middle."""
        await place.archive()
        end = await place.log.head()
        async with connect(database_url, role="dcf_app", size_max=1) as app:
            events = PostgresTenantEvents(app, Shelf(place.directory))
            for after, up_to in ((0, end), (3, end - 1), (3, SIZE + 2)):
                found, position = [], after
                while position < up_to:
                    piece = await events.after(a.TENANT_ID, position, up_to=up_to)
                    assert position < piece.position <= up_to
                    found += piece.events
                    position = piece.position
                own = [e for e in place.events if e.tenant_id == a.TENANT_ID and after < e.position <= up_to]
                assert found == own
                assert len(own) > 0

    @pytest.mark.parametrize("damaged", [False, True], ids=["no files", "a damaged file"])
    async def test_without_the_files_is_told_by_name_and_not_where_they_are(
        self, place: Place, database_url: str, damaged: bool
    ) -> None:
        await place.archive()
        first = min(place.directory.glob("*.gz"))
        first.write_bytes(first.read_bytes()[:20])
        async with connect(database_url, role="dcf_app", size_max=1) as app:
            events = PostgresTenantEvents(app, Shelf(place.directory if damaged else None))

            with pytest.raises(EventsArchived) as told:
                await events.after(a.TENANT_ID, 0, up_to=SIZE)

        assert str(place.directory) not in f"{told.value.detail} {told.value.remedy}"


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
