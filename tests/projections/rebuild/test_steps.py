"""A rebuild: the same as the fold, whatever is going on and wherever it is killed."""

from __future__ import annotations

import asyncio
import itertools
import random
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
import pytest

from projections.catalogue import READ_MODELS
from projections.checkpoints import Superseded, positions
from projections.deployments import DEPLOYMENTS
from projections.dropping import drop_old
from projections.functions import FUNCTIONS
from projections.invitations import INVITATIONS
from projections.members import MEMBERS
from projections.pace import Pace
from projections.parking import parked_events
from projections.postgres_reader import PostgresReader
from projections.projects import PROJECT, PROJECTS
from projections.read_model import AnyModel
from projections.rebuild.jobs import cancel_job
from projections.rebuild.lane import LaneOrder, scan
from projections.rebuild.verification import Findings, Past, sample
from projections.recorded import Recorded
from projections.runtimes import RUNTIMES
from projections.schedules import SCHEDULES
from projections.usage import USAGE
from projections.work import WORK
from tests.projections.conftest import Workshop
from tests.projections.history import CODEC, History, fold
from tests.projections.rebuild.conftest import Rebuilds
from tests.projections.rebuild.mortal_pool import Killed, MortalPool
from tests.projections.stories import STORIES, about_others, mingle
from tests.projections.test_worker import a_history, fragile, renamed_to_bad
from tests.support import a


def _is_of(id: UUID, recorded: Recorded) -> bool:
    return recorded.stream_id == id


async def assert_same(workshop: Workshop, one: AnyModel, other: AnyModel) -> None:
    assert await workshop.table(one) == await workshop.table(other)
    if one.keeps_history:
        assert await workshop.standing(one) == await workshop.standing(other)


class TestRebuild:
    @pytest.mark.parametrize("lanes", [1, 3])
    async def test_makes_the_rows_and_the_history_the_worker_made(
        self, workshop: Workshop, history: History, rebuilds: Rebuilds, lanes: int
    ) -> None:
        await history.record_together(a_history(seed=11))
        await workshop.catch_up()

        for model in READ_MODELS:
            build = await rebuilds.rebuild(model, lanes=lanes)

            assert build.build == 1
            assert await rebuilds.served(model) == build
            await assert_same(workshop, build, model)
            plain = {key: row.raw for key, row in (await fold(workshop.log, model)).items()}
            assert {key: row.raw for key, row in (await workshop.table(build)).items()} == plain

    async def test_ends_however_busy_the_machine_is(
        self, workshop: Workshop, history: History, rebuilds: Rebuilds
    ) -> None:
        await history.record_together(a_history(seed=3))
        await workshop.catch_up(DEPLOYMENTS)

        build = await rebuilds.rebuild(DEPLOYMENTS, lanes=2, pace=Pace(lambda: 1.0))

        await assert_same(workshop, build, DEPLOYMENTS)

    async def test_is_fed_from_then_on(self, workshop: Workshop, history: History, rebuilds: Rebuilds) -> None:
        await history.record(a.project_created())
        worker = await workshop.catch_up(PROJECTS)
        build = await rebuilds.rebuild(PROJECTS)
        await history.record(a.project_renamed("Store"))

        with pytest.raises(Superseded):
            await worker.turn()
        await workshop.catch_up(build)

        (row,) = (await workshop.table(build)).values()
        assert row.row.name == "Store"

    async def test_catches_up_with_what_was_recorded_since_the_scan(
        self, workshop: Workshop, history: History, rebuilds: Rebuilds
    ) -> None:
        """Goal: nothing between the scan and the switch is lost. Method: killed after the scan; then more happens."""
        await history.record_together(a_history(seed=12))
        await workshop.catch_up()
        job = await rebuilds.request(DEPLOYMENTS)
        with pytest.raises(Killed):
            await rebuilds.carry_out(job, DEPLOYMENTS, database=_dying(rebuilds, before="catching_up"))
        await history.record_together(about_others(STORIES["replaced, with drift"], 77))
        await workshop.catch_up()

        done = await rebuilds.carry_out(await rebuilds.job(job), DEPLOYMENTS)

        assert done.step == "done"
        await assert_same(workshop, await rebuilds.served(DEPLOYMENTS), DEPLOYMENTS)

    async def test_sets_aside_what_the_worker_sets_aside(
        self, workshop: Workshop, history: History, rebuilds: Rebuilds
    ) -> None:
        model = fragile(PROJECTS, renamed_to_bad)
        await history.record(a.project_created(), a.project_renamed("Bad"), a.project_archived())
        await workshop.catch_up(model)

        build = await rebuilds.rebuild(model, lanes=2)

        await assert_same(workshop, build, model)
        parked = [await parked_events(workshop.database, kind, limit=10) for kind in (build.kind, model.kind)]
        assert parked[0] == parked[1]
        assert len(parked[0]) == 2

    async def test_sets_aside_what_the_database_refuses(
        self, workshop: Workshop, history: History, rebuilds: Rebuilds
    ) -> None:
        """Nothing else is: the lanes go on."""
        orders: list[LaneOrder] = []

        async def launch(order: LaneOrder) -> None:
            orders.append(order)
            build = msgspec.structs.replace(PROJECTS, build=order.build)
            await scan(rebuilds.tools.database, CODEC, build, order)

        await history.record_together(
            [
                a.project_created(a.id_of(100 + n), name="\0" if n == 5 else f"Shop {n}", slug=f"shop-{n}")
                for n in range(10)
            ]
        )
        await workshop.catch_up(PROJECTS)

        build = await rebuilds.rebuild(PROJECTS, lanes=2, launch=launch)

        assert [(order.lane, order.lanes) for order in orders] == [(0, 2), (1, 2)]
        await assert_same(workshop, build, PROJECTS)
        assert [e.position for e in await parked_events(workshop.database, build.kind, limit=10)] == [6]

    async def test_sets_aside_in_one_lane_what_other_lanes_would_have_to_wait_for(
        self, workshop: Workshop, history: History, rebuilds: Rebuilds
    ) -> None:
        """Goal: lanes and the worker set aside the same. Method: each of the rows in turn is one the model cannot take."""
        await history.record_together(a_history(seed=5))
        found = await fold(workshop.log, DEPLOYMENTS)
        for build, (_, id) in zip((100, 200, 300, 400), sorted(found), strict=False):
            model = msgspec.structs.replace(fragile(DEPLOYMENTS, partial(_is_of, id)), build=build)
            await workshop.catch_up(model)

            rebuilt = await rebuilds.rebuild(model, lanes=3)

            await assert_same(workshop, rebuilt, model)
            parked = [await parked_events(workshop.database, kind, limit=500) for kind in (rebuilt.kind, model.kind)]
            assert parked[0] == parked[1] != []

    async def test_mends_rows_that_are_wrong_and_says_which(
        self, workshop: Workshop, history: History, rebuilds: Rebuilds
    ) -> None:
        await history.record(a.project_created(), a.project_renamed("Store"))
        await workshop.catch_up(PROJECTS)
        await workshop.database.execute(f"UPDATE views.{PROJECTS.kind} SET position = 1")

        job = await rebuilds.carry_out(await rebuilds.request(PROJECTS), PROJECTS)

        assert job.findings is not None
        findings = msgspec.json.decode(job.findings, type=Findings)
        assert (findings.compared, findings.rows, findings.served_rows) == (True, 1, 1)
        assert findings.differing == [f"{a.TENANT_ID}/{a.PROJECT_ID}"]
        assert findings.wrong == []
        (row,) = (await workshop.table(await rebuilds.served(PROJECTS))).values()
        assert row.position == 2

    @pytest.mark.parametrize(
        "damage", ["UPDATE views.{kind} SET position = 1 WHERE id = $1", "DELETE FROM views.{kind} WHERE id = $1"]
    )
    async def test_samples_entities_that_begin_and_end_in_no_stretch(
        self, workshop: Workshop, history: History, damage: str
    ) -> None:
        """Goal: whole entities are refolded. Method: three change in turns, far longer than what is looked at at once."""
        ids = [a.id_of(100 + n) for n in range(3)]
        made = [a.project_created(id, name=f"Shop {n}", slug=f"shop-{n}") for n, id in enumerate(ids)]
        renamed = [a.project_renamed(f"Store {n}", ids[n % 3]) for n in range(2_400)]
        await history.record_together([*made, *renamed])
        await workshop.catch_up(PROJECTS)
        head, right, wrong = await workshop.log.head(), Findings(), Findings()

        await sample(Past(workshop.database), CODEC, PROJECTS, head, right, random.Random(1))
        await workshop.database.execute(damage.format(kind=PROJECTS.kind), ids[1])
        await sample(Past(workshop.database), CODEC, PROJECTS, head, wrong, random.Random(1))

        assert (right.refolded, right.wrong) == (24, [])
        assert wrong.wrong == [f"{a.TENANT_ID}/{ids[1]}"]

    async def test_samples_rows_of_which_several_streams_tell(self, workshop: Workshop, history: History) -> None:
        """Goal: these too are refolded whole. Method: stories that go on far longer than what is looked at at once."""
        stories = [about_others(STORIES[name], number) for number, name in enumerate(sorted(STORIES), 1)]
        made = a.project_created(a.id_of(999), name="Others", slug="others")
        facts = [made]
        for fact in mingle(stories, random.Random(1)):
            facts += [fact, *(a.project_renamed(f"Store {len(facts) + n}", a.id_of(999)) for n in range(9))]
        await history.record_together(facts)
        head, models = await workshop.log.head(), (DEPLOYMENTS, SCHEDULES, MEMBERS, INVITATIONS, RUNTIMES, USAGE)
        for model in models:
            await workshop.catch_up(model)

            right, wrong = Findings(), Findings()
            await sample(Past(workshop.database), CODEC, model, head, right, random.Random(1))
            await workshop.database.execute(f"UPDATE views.{model.kind} SET position = position - 1")
            await sample(Past(workshop.database), CODEC, model, head, wrong, random.Random(1))

            rows = await workshop.database.fetchval(f"SELECT count(*) FROM views.{model.kind}")
            assert right.wrong == [], model.name
            assert right.refolded >= (1 if model is USAGE else rows), model.name
            assert wrong.wrong or not rows, model.name

    async def test_does_not_serve_what_the_log_does_not_say(
        self, workshop: Workshop, history: History, rebuilds: Rebuilds
    ) -> None:
        """Goal: a build that is wrong is not switched to. Method: a row is spoilt once it was scanned."""
        await history.record(a.project_created(), a.project_renamed("Store"))
        await workshop.catch_up(PROJECTS)
        job = await rebuilds.request(PROJECTS)
        with pytest.raises(Killed):
            await rebuilds.carry_out(job, PROJECTS, database=_dying(rebuilds, before="verifying"))
        await workshop.database.execute(f"UPDATE views.{job.kind} SET first_position = 2")

        failed = await rebuilds.carry_out(await rebuilds.job(job), PROJECTS)

        assert failed.step == "failed"
        assert str(a.PROJECT_ID) in failed.problem
        assert await rebuilds.served(PROJECTS) == PROJECTS


def _dying(rebuilds: Rebuilds, before: str) -> MortalPool:
    """A pool whose owner is killed before the job gets to this step."""

    def die(*args: object) -> None:
        if before in args:
            raise Killed

    return MortalPool(rebuilds.tools.database, die, after=False)


class TestKilled:
    @pytest.mark.parametrize(("lanes", "after"), [(1, True), (2, False)], ids=["after", "before, in lanes"])
    async def test_at_any_question_to_the_database_the_next_goes_on(
        self, workshop: Workshop, history: History, rebuilds: Rebuilds, lanes: int, after: bool
    ) -> None:
        """Goal: a kill at any step costs nothing but time. Method: whoever works on the job is ended at its first
        question to the database, the next at its second, and so on, until one reaches the end."""
        await history.record_together(a_history(seed=13))
        await workshop.catch_up()
        job = await rebuilds.request(DEPLOYMENTS)
        for number in itertools.count(1):
            asked = itertools.count(1)

            def die(*_: object, asked: Any = asked, number: int = number) -> None:
                if next(asked) == number:
                    raise Killed

            dying = MortalPool(rebuilds.tools.database, die, after=after)
            try:
                job = await rebuilds.carry_out(await rebuilds.job(job), DEPLOYMENTS, database=dying, lanes=lanes)
                break
            except Killed:
                job = await rebuilds.job(job)
                if job.ended_at is not None:
                    break

        assert number > 10
        assert (job.step, job.problem) == ("done", "")
        await assert_same(workshop, await rebuilds.served(DEPLOYMENTS), DEPLOYMENTS)


class TestOthers:
    async def test_verify_compares_and_leaves_nothing(
        self, workshop: Workshop, history: History, rebuilds: Rebuilds
    ) -> None:
        await history.record_together(a_history(seed=14))
        await workshop.catch_up()

        job = await rebuilds.carry_out(await rebuilds.request(FUNCTIONS, "verify"), FUNCTIONS)

        assert job.findings is not None
        findings = msgspec.json.decode(job.findings, type=Findings)
        assert (findings.compared, findings.differing, findings.wrong) == (True, [], [])
        assert findings.refolded > 0
        assert await rebuilds.served(FUNCTIONS) == FUNCTIONS
        assert job.kind not in await positions(workshop.database)

    async def test_switches_back_to_the_build_before_and_drops_it(
        self, workshop: Workshop, history: History, rebuilds: Rebuilds, reader: PostgresReader
    ) -> None:
        await history.record(a.project_created())
        await workshop.catch_up(PROJECTS)
        build = await rebuilds.rebuild(PROJECTS)
        await history.record(a.project_renamed("Store"))
        await workshop.catch_up(build)

        back = await rebuilds.carry_out(await rebuilds.request(PROJECTS, "switch_back", back_to=0), PROJECTS)

        assert back.step == "done"
        assert await rebuilds.served(PROJECTS) == PROJECTS
        await assert_same(workshop, PROJECTS, build)
        assert await drop_old(workshop.database, "projects") == [build.kind]
        assert await drop_old(workshop.database, "projects") == []
        found = await reader.one(PROJECT, a.TENANT_ID, a.PROJECT_ID)
        assert found is not None
        assert found.row.name == "Store"

    async def test_a_job_that_is_canceled_leaves_nothing(
        self, workshop: Workshop, history: History, rebuilds: Rebuilds
    ) -> None:
        await history.record(a.project_created())
        await workshop.catch_up(PROJECTS)
        job = await rebuilds.request(PROJECTS)
        await cancel_job(workshop.database, job.id)

        canceled = await rebuilds.carry_out(job, PROJECTS)

        assert canceled.step == "canceled"
        assert await rebuilds.served(PROJECTS) == PROJECTS
        assert list(await positions(workshop.database)) == [PROJECTS.kind]

    async def test_asking_twice_is_asking_once(self, workshop: Workshop, rebuilds: Rebuilds) -> None:
        await workshop.worker(WORK)
        first, second = await rebuilds.request(WORK), await rebuilds.request(WORK)
        assert first.id == second.id

    async def test_whoever_lost_the_job_changes_nothing_more(
        self, workshop: Workshop, history: History, rebuilds: Rebuilds
    ) -> None:
        """Goal: two workers on one job do it once. Method: both at once, each taking it from the other."""
        await history.record_together(
            mingle([about_others(s, n) for n, s in enumerate(STORIES.values(), 1)], random.Random(5))
        )
        await workshop.catch_up()
        job = await rebuilds.request(DEPLOYMENTS)

        async def insist() -> None:
            for _ in range(8):
                try:
                    await rebuilds.carry_out(job, DEPLOYMENTS, lanes=2)
                except Superseded:
                    await asyncio.sleep(0.02)

        await asyncio.gather(insist(), insist())
        if (await rebuilds.job(job)).ended_at is None:
            await rebuilds.carry_out(job, DEPLOYMENTS)

        assert (await rebuilds.job(job)).step == "done"
        await assert_same(workshop, await rebuilds.served(DEPLOYMENTS), DEPLOYMENTS)
