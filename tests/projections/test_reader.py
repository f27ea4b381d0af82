"""Queries: in PostgreSQL as in memory, one tenant's and no other's, by their indexes."""

from __future__ import annotations

import asyncio
import json
import random
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest
from prometheus_client import CollectorRegistry

from domain.event import SYSTEM_TENANT
from domain.plan import plan_stream
from eventstore.database import Pool
from eventstore.leases import PostgresLeases
from eventstore.session import sessions
from projections import listener
from projections.active import activate
from projections.api_keys import API_KEY_GET, API_KEY_NAMED, API_KEYS_LIST
from projections.artifacts import ARTIFACT, ARTIFACT_BY_DIGEST, ARTIFACTS_KEPT, ARTIFACTS_LIST
from projections.as_of import AS_OF_QUERIES, as_of
from projections.audit_trail import (
    AUDIT_EVENTS,
    AUDIT_EVENTS_AT,
    AUDIT_EVENTS_NEWEST,
    AUDIT_EVENTS_OF_ALL,
    AUDIT_EVENTS_OF_ALL_NEWEST,
    EventFilter,
    row_id,
)
from projections.catalogue import QUERIES, READ_MODELS
from projections.deployment_events import TIMELINE, TIMELINE_NEWS, TIMELINE_OF_PROJECT
from projections.deployment_lists import (
    DEPLOYMENT,
    DEPLOYMENT_AT_ADDRESS,
    DEPLOYMENT_FATES,
    DEPLOYMENT_TALLY,
    DEPLOYMENTS_ON_RUNTIME,
    DEPLOYMENTS_WATCHED,
    RELEASES_KEPT,
    RELEASES_LEFTOVER,
    DeploymentFilter,
    deployments_list,
)
from projections.engine import Parts, engine
from projections.functions import (
    FUNCTION_BY_NAME,
    FUNCTION_BY_SLUG,
    FUNCTION_GET,
    FUNCTION_TALLY,
    FUNCTIONS_LIST,
    FUNCTIONS_ON_RUNTIME,
)
from projections.integrations import INTEGRATION_GET, INTEGRATIONS_LIST
from projections.invitations import INVITATION, INVITATIONS_LIST
from projections.members import MEMBER, MEMBERS_LIST, MEMBERSHIPS
from projections.memory_reader import MemoryReader
from projections.monitor import Monitor
from projections.persons import PERSON, PERSON_ERASED, PERSON_IDENTIFIED, PERSONS_AMONG
from projections.plans import PLAN, PLANS_LIST
from projections.postgres_reader import PostgresReader
from projections.progress import Progress
from projections.projects import PROJECT, PROJECT_BY_NAME, PROJECT_BY_SLUG, PROJECTS, PROJECTS_LIST
from projections.query import AnyQuery
from projections.reader import Reader, ReadModelNotReady
from projections.runtimes import RUNTIMES_LIST
from projections.schedules import SCHEDULES_KEPT
from projections.tables import install
from projections.tenants import TENANT, TENANT_BY_SLUG, TENANTS_LIST
from projections.usage import USAGE_LIST
from projections.versions import VERSION_QUERIES
from projections.views import PostgresViews
from projections.webhooks import WEBHOOK_GET, WEBHOOKS_ACTIVE, WEBHOOKS_LIST
from projections.work import WORK_QUEUE, WORK_READY, WORK_UNDER_WAY, WORK_WAITING
from tests.projections.conftest import Workshop
from tests.projections.history import CODEC, History
from tests.projections.stories import STORIES, about_others, mingle
from tests.support import a

Question = tuple[AnyQuery, UUID | None, tuple[Any, ...]]


def questions() -> list[Question]:
    """Every query that the API may ask, with arguments that find something in at least one of the stories."""
    now = _questions_now()
    twins = {query.name for query in AS_OF_QUERIES}
    past = [
        (as_of(query), tenant_id, (position, *args))
        for query, tenant_id, args in now
        if f"{query.name}_as_of" in twins
        for position in (3, 8, 17)
    ]
    return now + past + _questions_of_the_trail()


def _questions_of_the_trail() -> list[Question]:
    tenant = a.TENANT_ID
    filters = (
        EventFilter(),
        EventFilter(entity_id=a.DEPLOYMENT_ID),
        EventFilter(correlation_id=UUID(int=77), above=3, up_to=9),
        EventFilter(type="function.created"),
        EventFilter(actor_id="nobody"),
        EventFilter(project_id=a.PROJECT_ID),
        EventFilter(projects=(a.PROJECT_ID, UUID(int=78))),
        EventFilter(type="function.created", projects=(UUID(int=78),)),
    )
    wanted = [(*msgspec.structs.astuple(one), 2, 10) for one in filters]
    ids = (a.PROJECT_ID, a.FUNCTION_ID, a.DEPLOYMENT_ID, a.PERSON_ID, a.WEBHOOK_ID)
    return [
        *((query, tenant, values) for query in (AUDIT_EVENTS, AUDIT_EVENTS_NEWEST) for values in wanted),
        *(
            (query, None, (only, *values))
            for query in (AUDIT_EVENTS_OF_ALL, AUDIT_EVENTS_OF_ALL_NEWEST)
            for values in wanted[:2]
            for only in (tenant, None)
        ),
        (AUDIT_EVENTS_AT, tenant, ([row_id(position) for position in (2, 5, 900)],)),
        *(
            (query, tenant, (6, id) if query.over == "as_of" else (id, 2, 10))
            for query in VERSION_QUERIES
            for id in ids
        ),
    ]


def _questions_now() -> list[Question]:
    tenant, project = a.TENANT_ID, a.PROJECT_ID
    far = 2**62
    return [
        (TENANT, tenant, ()),
        (TENANT_BY_SLUG, None, ("acme",)),
        (TENANTS_LIST, None, (0, 10)),
        (USAGE_LIST, None, (0, 10)),
        (WORK_WAITING, tenant, ()),
        (WORK_QUEUE, None, (0, 10)),
        (PLAN, SYSTEM_TENANT, (plan_stream("sandbox").id,)),
        (PLANS_LIST, SYSTEM_TENANT, ()),
        (PERSON, SYSTEM_TENANT, (a.PERSON_ID,)),
        (PERSON_IDENTIFIED, None, ("ada",)),
        (PERSON_ERASED, None, ("ada",)),
        (PERSONS_AMONG, SYSTEM_TENANT, ([a.PERSON_ID],)),
        (MEMBER, tenant, (a.PERSON_ID,)),
        (MEMBERS_LIST, tenant, (0, 10)),
        (MEMBERSHIPS, None, (a.PERSON_ID,)),
        (INVITATION, tenant, (a.INVITATION_ID,)),
        (INVITATIONS_LIST, tenant, (2**40, 10)),
        (API_KEY_NAMED, None, (a.KEY_ID,)),
        (API_KEY_GET, tenant, (a.KEY_ID,)),
        (API_KEYS_LIST, tenant, (far, 10)),
        (PROJECT, tenant, (project,)),
        (PROJECT_BY_SLUG, tenant, ("shop",)),
        (PROJECT_BY_NAME, tenant, ("shop",)),
        (PROJECTS_LIST, tenant, (far, 10)),
        (RUNTIMES_LIST, SYSTEM_TENANT, ()),
        (ARTIFACT, tenant, (project, a.staged_id())),
        (ARTIFACT_BY_DIGEST, tenant, (project, a.DIGEST)),
        (ARTIFACTS_LIST, tenant, (project, far, 10)),
        (INTEGRATION_GET, tenant, (project, "local")),
        (INTEGRATIONS_LIST, tenant, (project, 0, 10)),
        (FUNCTION_GET, tenant, (a.FUNCTION_ID,)),
        (FUNCTION_BY_NAME, tenant, (project, "greet")),
        (FUNCTION_BY_SLUG, tenant, (project, "greet")),
        (FUNCTIONS_LIST, tenant, (project, far, 10)),
        (FUNCTIONS_ON_RUNTIME, None, (a.RUNTIME, 0, 10)),
        (FUNCTION_TALLY, None, (a.RUNTIME,)),
        (DEPLOYMENT, tenant, (project, a.DEPLOYMENT_ID)),
        (DEPLOYMENT_AT_ADDRESS, None, ("acme/shop/greet",)),
        (DEPLOYMENTS_ON_RUNTIME, None, (a.RUNTIME, 0, 10)),
        (DEPLOYMENT_TALLY, None, (a.RUNTIME,)),
        (TIMELINE, tenant, (a.DEPLOYMENT_ID, 0, 50)),
        (TIMELINE_OF_PROJECT, tenant, (project, 0, 50)),
        (WEBHOOK_GET, tenant, (a.WEBHOOK_ID,)),
        (WEBHOOKS_LIST, tenant, (project, far, 10)),
        *(
            (query, tenant, (*args, far, 10))
            for query, args in (
                deployments_list(project, wanted)
                for wanted in (
                    DeploymentFilter(),
                    DeploymentFilter(provider="local"),
                    DeploymentFilter(provider="aws"),
                    DeploymentFilter(status="succeeded"),
                    DeploymentFilter(function_id=a.FUNCTION_ID),
                    DeploymentFilter(function_id=a.FUNCTION_ID, status="failed"),
                )
            )
        ),
    ]


# What the service's own parts ask, of all tenants.
ENGINE_QUESTIONS: list[tuple[AnyQuery, tuple[Any, ...]]] = [
    (WORK_READY, (10,)),
    (WORK_UNDER_WAY, (0, 10)),
    (SCHEDULES_KEPT, (0, 10)),
    (DEPLOYMENTS_WATCHED, (0, 10)),
    (DEPLOYMENT_FATES, (a.TENANT_ID, [a.DEPLOYMENT_ID, a.id_of(999)])),
    (RELEASES_KEPT, (a.TENANT_ID, "", 0, 10)),
    (RELEASES_KEPT, (a.TENANT_ID, f"{a.FUNCTION_ID}/local", 1, 10)),
    (RELEASES_LEFTOVER, (0, 10)),
    (ARTIFACTS_KEPT, (a.TENANT_ID, 0, 10)),
    (WEBHOOKS_ACTIVE, (0, 10)),
    (TIMELINE_NEWS, ([a.TENANT_ID, a.TENANT_ID], [a.PROJECT_ID, a.OTHER_PROJECT_ID], [12, 0])),
]


@pytest.fixture
def memory(workshop: Workshop) -> MemoryReader:
    return MemoryReader(workshop.log, CODEC)


class TestRows:
    @pytest.mark.parametrize("story", sorted(STORIES))
    async def test_are_those_found_in_memory(
        self, story: str, workshop: Workshop, history: History, reader: Reader, memory: MemoryReader
    ) -> None:
        await history.record(*STORIES[story])
        await workshop.catch_up()

        for query, tenant_id, args in questions():
            assert await reader.rows(query, tenant_id, *args) == await memory.rows(query, tenant_id, *args), query.name

    async def test_every_query_of_the_api_is_tried(self) -> None:
        untried = {query.name for query in QUERIES} - {query.name for query, _, _ in questions()}
        assert untried == {query.name for query in QUERIES if query.audience == "engine"}

    async def test_say_busy_until_the_engine_has_made_them(self, reader: Reader) -> None:
        with pytest.raises(ReadModelNotReady):
            await reader.rows(PROJECT, a.TENANT_ID, a.PROJECT_ID)

    async def test_follow_the_version_that_is_served(
        self, workshop: Workshop, history: History, reader: PostgresReader
    ) -> None:
        await history.record(a.project_created())
        await workshop.catch_up(PROJECTS)
        assert len(await reader.rows(PROJECT, a.TENANT_ID, a.PROJECT_ID)) == 1
        newer = msgspec.structs.replace(PROJECTS, version=2)
        worker = await workshop.worker(newer)
        await install(workshop.database, [newer], [msgspec.structs.replace(PROJECT, model=newer)])
        await history.record(a.project_renamed("Store"))
        while await worker.turn():
            pass
        await activate(workshop.database, newer)

        async with asyncio.timeout(30):
            while (await reader.rows(PROJECT, a.TENANT_ID, a.PROJECT_ID))[0].row.name != "Store":
                await asyncio.sleep(0.01)


class TestTenants:
    async def test_see_nothing_of_each_other(self, workshop: Workshop, history: History, reader: Reader) -> None:
        for story in STORIES.values():
            await history.record_together(story)
        await workshop.catch_up()

        for query, tenant_id, args in questions():
            if query.audience == "tenant" and tenant_id != SYSTEM_TENANT:
                assert await reader.rows(query, a.OTHER_TENANT_ID, *args) == [], query.name

    async def test_are_kept_apart_by_the_database_itself(self, workshop: Workshop, history: History, app: Pool) -> None:
        """A statement that forgets the tenant finds nothing, or what the tenant that is set may see."""
        await history.record_together(STORIES["deployed and undeployed"])
        await history.record_together(about_others(STORIES["deployed and undeployed"], 9))
        await workshop.catch_up()
        tables = [model.kind for model in READ_MODELS]
        tables += [f"{model.kind}_history" for model in READ_MODELS if model.keeps_history]

        for table in tables:
            statement = f"SELECT count(*) FROM views.{table}"
            assert await app.fetchval(statement) == 0, table
            async with app.transaction() as connection:
                await connection.execute("SELECT set_config('dcf.tenant', $1, true)", str(a.TENANT_ID))
                own = await connection.fetchval(f"SELECT count(*) FROM views.{table} WHERE tenant_id = $1", a.TENANT_ID)
                assert await connection.fetchval(statement) == own, table

    async def test_leave_no_tenant_set_behind(self, workshop: Workshop, history: History, app: Pool) -> None:
        await history.record(a.project_created())
        await workshop.catch_up()
        function = f"views.{PROJECT.function(PROJECTS.version)}"

        async with app.acquire() as connection:
            found = await connection.fetch(f"SELECT * FROM {function}($1, $2)", a.TENANT_ID, a.PROJECT_ID)
            left = await connection.fetchval("SELECT current_setting('dcf.tenant', true)")

        assert len(found) == 1
        assert not left

    async def test_cannot_change_a_row_or_ask_what_is_the_services_own(self, workshop: Workshop, app: Pool) -> None:
        await workshop.catch_up()
        for statement in (
            f"DELETE FROM views.projects_v{PROJECTS.version}",
            "UPDATE views.checkpoints SET position = 0",
            "SELECT * FROM views.parked",
            f"SELECT * FROM views.{WORK_READY.function(WORK_READY.model.version)}(10)",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await app.execute(statement)


class TestPage:
    async def test_pages_join_without_gap_or_repeat_while_rows_change(
        self, workshop: Workshop, history: History, reader: Reader, memory: MemoryReader
    ) -> None:
        ids = [a.id_of(100 + n) for n in range(7)]
        await history.record(*(a.project_created(id, name=f"P{n}", slug=f"p{n}") for n, id in enumerate(ids)))
        worker = await workshop.catch_up()

        seen: list[UUID] = []
        after: int | None = None
        while True:
            page = await reader.page(PROJECTS_LIST, a.TENANT_ID, after=after, limit=3)
            assert page == await memory.page(PROJECTS_LIST, a.TENANT_ID, after=after, limit=3)
            seen += [found.id for found in page.items]
            if page.next_after is None:
                break
            after = page.next_after
            await history.record(a.project_archived(ids[0]), a.project_created(a.id_of(200 + len(seen))))
            await worker.turn()

        assert seen == ids[::-1]

    async def test_refuses_a_limit_out_of_bounds(self, reader: Reader) -> None:
        with pytest.raises(ValueError, match="1 to 500"):
            await reader.page(PROJECTS_LIST, a.TENANT_ID, after=None, limit=501)

    async def test_a_list_of_deployments_can_be_cut_by_time(
        self, workshop: Workshop, history: History, reader: Reader
    ) -> None:
        ids = [a.id_of(100 + n) for n in range(6)]
        await history.record(*(a.deployment_queued(id, n) for n, id in enumerate(ids, 1)))
        await workshop.catch_up()
        everything = (await reader.page(*_listed(DeploymentFilter()), after=None, limit=10)).items
        times = {found.id: found.row.queued_at for found in everything}

        between = DeploymentFilter(queued_from=times[ids[1]], queued_before=times[ids[4]])
        found = (await reader.page(*_listed(between), after=None, limit=10)).items
        nothing = DeploymentFilter(queued_from=times[ids[5]] + timedelta(microseconds=1))

        assert [one.id for one in found] == ids[3:0:-1]
        assert (await reader.page(*_listed(nothing), after=None, limit=10)).items == []


def _listed(wanted: DeploymentFilter) -> tuple[Any, ...]:
    query, args = deployments_list(a.PROJECT_ID, wanted)
    return (query, a.TENANT_ID, *args)


_CRASHED = """
    UPDATE views.checkpoints SET position = position - 1;
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'dcf log'
"""


class TestWaitFor:
    async def test_returns_as_soon_as_another_process_has_come_that_far(
        self, database_url: str, workshop: Workshop, history: History, reader: PostgresReader
    ) -> None:
        worker = await workshop.catch_up()
        position = await history.record(a.project_created())

        assert not await reader.wait_for(position, (PROJECT,), seconds_max=0.05)
        waiting = asyncio.create_task(reader.wait_for(position, seconds_max=60))
        await asyncio.sleep(0.05)
        await worker.turn()

        async with asyncio.timeout(50):
            assert await waiting
        assert len(await reader.rows(PROJECT, a.TENANT_ID, a.PROJECT_ID)) == 1

    async def test_needs_no_database_when_the_engine_is_in_this_process(
        self, database_url: str, workshop: Workshop, history: History, app: Pool
    ) -> None:
        progress = Progress()
        parts = Parts(
            views=PostgresViews(workshop.database),
            log=workshop.log,
            leases=PostgresLeases(workshop.database),
            codec=CODEC,
            monitor=Monitor(CollectorRegistry()),
            moved=progress.advance,
        )
        open_session = sessions(database_url, role="dcf_app")
        async with engine(parts), PostgresReader(app, open_session, progress=progress) as reader:
            position = await history.record(a.project_created())
            assert await reader.wait_for(position, seconds_max=10)
            assert len(await reader.rows(PROJECT, a.TENANT_ID, a.PROJECT_ID)) == 1

    async def test_knows_nothing_any_more_once_the_server_may_have_lost_its_last_moment(
        self, database_url: str, workshop: Workshop, history: History, app: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Method: the rows fall back and every session ends, as in a crash; it is long until the next look."""
        monkeypatch.setattr(listener, "POLL_SECONDS", 60.0)
        position = await history.record(a.project_created())
        await workshop.catch_up()
        owner = await asyncpg.connect(database_url)
        try:
            async with PostgresReader(app, sessions(database_url, role="dcf_app")) as reader:
                assert await reader.wait_for(position, seconds_max=30)

                await owner.execute(_CRASHED)

                async with asyncio.timeout(50):
                    while await reader.wait_for(position, seconds_max=0):
                        await asyncio.sleep(0.01)
        finally:
            await owner.close()

    async def test_gives_up_when_the_time_is_over(self, reader: PostgresReader) -> None:
        assert not await reader.wait_for(1, seconds_max=0.05)


class TestWork:
    async def test_gives_every_tenant_its_first_before_any_its_second(
        self, workshop: Workshop, history: History, memory: MemoryReader, database_url: str
    ) -> None:
        many = [
            a.deployment_queued(a.id_of(100 + n), 1, release=a.release(function_id=a.id_of(200 + n))) for n in range(5)
        ]
        await history.record(*many, *about_others(tuple(many[:1]), 7), *about_others(tuple(many[:2]), 8))
        await workshop.catch_up()

        async with PostgresReader(workshop.database, sessions(database_url, role="dcf_engine")) as reader:
            found = await reader.rows(WORK_READY, None, 6)

        assert len({one.tenant_id for one in found[:3]}) == 3
        assert [one.row.due_position for one in found] == [1, 6, 7, 2, 8, 3]
        assert found == await memory.rows(WORK_READY, None, 6)

    async def test_gives_one_place_to_one_deployment_at_a_time_in_order(
        self, workshop: Workshop, history: History, memory: MemoryReader, database_url: str
    ) -> None:
        async with PostgresReader(workshop.database, sessions(database_url, role="dcf_engine")) as reader:
            worker = await workshop.catch_up()
            ready: list[list[UUID]] = []
            under_way: list[list[UUID]] = []
            for fact in (
                a.deployment_queued(),
                a.deployment_queued(a.LATER_DEPLOYMENT_ID, 2),
                a.deployment_claimed(),
                a.deployment_succeeded(),
            ):
                await history.record(fact)
                await worker.turn()
                ready.append([found.id for found in await reader.rows(WORK_READY, None, 10)])
                under_way.append([found.id for found in await reader.rows(WORK_UNDER_WAY, None, 0, 10)])

        assert ready == [[a.DEPLOYMENT_ID], [a.DEPLOYMENT_ID], [], [a.LATER_DEPLOYMENT_ID]]
        assert under_way == [[], [], [a.DEPLOYMENT_ID], []]

    @pytest.mark.parametrize("seed", range(3))
    async def test_is_the_same_in_memory_at_any_moment(
        self, seed: int, workshop: Workshop, history: History, memory: MemoryReader, database_url: str
    ) -> None:
        facts = mingle([about_others(story, n) for n, story in enumerate(STORIES.values(), 1)], random.Random(seed))
        async with PostgresReader(workshop.database, sessions(database_url, role="dcf_engine")) as reader:
            worker = await workshop.catch_up()
            for start in range(0, len(facts), 15):
                await history.record_together(facts[start : start + 15])
                await worker.turn()
                assert await reader.rows(WORK_READY, None, 3) == await memory.rows(WORK_READY, None, 3)
                assert await reader.page(WORK_UNDER_WAY, None, after=None, limit=2) == await memory.page(
                    WORK_UNDER_WAY, None, after=None, limit=2
                )


class TestQueriesOfTheEngine:
    @pytest.mark.parametrize("story", sorted(STORIES))
    async def test_find_what_is_found_in_memory(
        self, story: str, workshop: Workshop, history: History, memory: MemoryReader, database_url: str
    ) -> None:
        await history.record(*STORIES[story])
        await workshop.catch_up()

        async with PostgresReader(workshop.database, sessions(database_url, role="dcf_engine")) as reader:
            for query, args in ENGINE_QUESTIONS:
                assert await reader.rows(query, None, *args) == await memory.rows(query, None, *args), query.name

    async def test_are_all_tried(self) -> None:
        tried = {query.name for query, _ in ENGINE_QUESTIONS}
        assert tried == {query.name for query in QUERIES if query.audience == "engine"}


class TestPlans:
    """Hot queries step into an index and read what they answer, however large the tables grow."""

    async def test_read_no_table_from_end_to_end(self, workshop: Workshop, history: History) -> None:
        await workshop.catch_up()
        await _fill(workshop.database)

        for query, tenant_id, args in questions():
            values = (tenant_id, *args) if query.audience == "tenant" else args
            plan = await _plan(workshop.database, query, values)
            for node in _nodes(plan):
                assert node["Node Type"] != "Seq Scan", (query.name, plan)
                rows = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
                assert rows <= 60, (query.name, node)

    async def test_of_the_engine_read_a_few_rows_of_each_tenant(self, workshop: Workshop) -> None:
        await workshop.catch_up()
        await _fill(workshop.database)

        for query, args in ENGINE_QUESTIONS:
            for node in _nodes(await _plan(workshop.database, query, args)):
                assert node["Node Type"] != "Seq Scan", (query.name, node)
                assert node["Actual Rows"] * node["Actual Loops"] <= 1_000, (query.name, node)


async def _plan(database: Pool, query: AnyQuery, values: tuple[Any, ...]) -> Any:
    """The plan that the query's function settles on, with what it really read."""
    mode = "force_custom_plan" if query.replans else "force_generic_plan"
    async with database.transaction() as connection:
        await connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
        text = f"EXPLAIN (ANALYZE, FORMAT JSON) {query.body(query.model.version)}"
        return json.loads(await connection.fetchval(text, *values))[0]["Plan"]


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in _nodes(child))]


_FILL = """
    INSERT INTO views.{kind} (tenant_id, id, first_position, position, {columns} row)
    SELECT tenant, gen_random_uuid(), n, n, {values} '{{}}'::bytea
      FROM (SELECT n, md5((n % 50)::text)::uuid AS tenant FROM generate_series(1, 20000) n) u
"""
_VALUES = {
    "uuid": "md5((n % 500)::text)::uuid,",
    "text": "'t' || (n % 2000),",
    "boolean": "n % 100 = 0,",
    "bigint": "n,",
    "timestamptz": "timestamptz '2026-01-01Z' + n * interval '1 second',",
}


async def _fill(database: Pool) -> None:
    for model in READ_MODELS:
        columns = "".join(f"{column.name}, " for column in model.columns)
        values = " ".join(_VALUES[column.sql_type] for column in model.columns)
        if model.name == "work":
            values = "'s' || n, n % 10 = 0, n % 10 = 1, n,"
        await database.execute(_FILL.format(kind=model.kind, columns=columns, values=values))
        await database.execute(f"ANALYZE views.{model.kind}")
