"""As-of reads: what is answered of a moment is what a snapshot taken at that moment showed."""

from __future__ import annotations

import json
import random
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventstore.database import Pool
from projections.as_of import AS_OF_QUERIES, PastReader, as_of
from projections.deployment_lists import DeploymentFilter, deployments_list
from projections.deployments import DEPLOYMENTS
from projections.functions import FUNCTION_GET, FUNCTIONS, FUNCTIONS_LIST
from projections.integrations import INTEGRATIONS, INTEGRATIONS_LIST
from projections.memory_reader import MemoryReader
from projections.query import AnyQuery, Found
from projections.reader import Reader
from projections.row_changes import LINE
from projections.versions import VERSIONS
from tests.audit.questions import Question, questions_about
from tests.projections.conftest import Workshop
from tests.projections.history import CODEC, History, memory_log
from tests.projections.stories import STORIES, about_others, mingle
from tests.support import a

_STORIES = st.lists(st.sampled_from(sorted(STORIES)), min_size=1, max_size=3)
_CHANCE = st.randoms(use_true_random=False)


async def _shown(reader: Reader, questions: list[Question]) -> list[list[Found[Any]]]:
    return [await reader.rows(query, tenant_id, *args) for query, tenant_id, args in questions]


class TestPastReader:
    @given(chosen=_STORIES, chance=_CHANCE)
    @settings(
        max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    )
    async def test_shows_what_a_snapshot_showed(
        self, workshop: Workshop, history: History, reader: Reader, chosen: list[str], chance: random.Random
    ) -> None:
        """Goal: as-of equals snapshot, on PostgreSQL. Method: take the snapshots while the history is being made, in
        batches of any size, then ask for each again when it is over."""
        stories = [about_others(STORIES[name], uuid4().int) for name in chosen]
        facts, questions = mingle(stories, chance), [q for story in stories for q in questions_about(story)]
        worker = await workshop.catch_up()
        snapshots: list[tuple[int, list[list[Found[Any]]]]] = []
        while facts:
            count = chance.randint(1, 12)
            position = await history.record_together(facts[:count])
            del facts[:count]
            while await worker.turn():
                pass
            snapshots.append((position, await _shown(reader, questions)))

        for position, snapshot in snapshots:
            assert await _shown(PastReader(reader, position), questions) == snapshot

    @given(chosen=_STORIES, chance=_CHANCE)
    @settings(max_examples=15, deadline=None)
    async def test_shows_it_in_memory_after_every_event(self, chosen: list[str], chance: random.Random) -> None:
        stories = [about_others(STORIES[name], number) for number, name in enumerate(chosen, 1)]
        questions = [question for story in stories for question in questions_about(story)]
        log = memory_log()
        history, reader = History(log), MemoryReader(log, CODEC)
        snapshots = [await _shown(reader, questions)]
        for fact in mingle(stories, chance):
            await history.record(fact)
            snapshots.append(await _shown(reader, questions))

        for position, snapshot in enumerate(snapshots):
            assert await _shown(PastReader(reader, position), questions) == snapshot

    async def test_shows_each_of_very_many_versions_of_a_row(
        self, workshop: Workshop, history: History, reader: Reader
    ) -> None:
        """Goal: chains that go past many whole versions. Method: against the plain fold, which keeps all of them whole."""
        changes = [a.function_updated(description=f"as of {n}") for n in range(60)]
        end = await history.record_together([a.function_created(), *changes])
        await workshop.catch_up()
        memory, versions = MemoryReader(workshop.log, CODEC), VERSIONS["function"].all
        kept = await workshop.database.fetch(f"SELECT row FROM views.{FUNCTIONS.kind}_history")

        for position in range(1, end + 1):
            asked = (FUNCTION_GET, a.TENANT_ID, a.FUNCTION_ID)
            assert await PastReader(reader, position).one(*asked) == await PastReader(memory, position).one(*asked)
        pages = [await one.rows(versions, a.TENANT_ID, a.FUNCTION_ID, 0, 100) for one in (reader, memory)]
        assert pages[0] == pages[1]
        assert len(pages[0]) == end == len(kept) + 1
        assert 2 < sum(not row["row"].startswith(LINE) for row in kept) < 15

    async def test_another_tenant_sees_nothing(self, workshop: Workshop, history: History, reader: Reader) -> None:
        position = await history.record_together(STORIES["deployed and undeployed"])
        await workshop.catch_up()
        past = PastReader(reader, position)

        assert await past.rows(FUNCTIONS_LIST, a.TENANT_ID, a.PROJECT_ID, 2**62, 10)
        assert await past.rows(FUNCTIONS_LIST, a.OTHER_TENANT_ID, a.PROJECT_ID, 2**62, 10) == []

    async def test_pages_join_while_rows_change(self, workshop: Workshop, history: History, reader: Reader) -> None:
        ids = [a.id_of(100 + number) for number in range(5)]
        made = [a.function_created(id, name=f"F{n}", slug=f"f{n}") for n, id in enumerate(ids)]
        position = await history.record(*made)
        worker = await workshop.catch_up()
        past, seen, after = PastReader(reader, position), [], None
        while True:
            page = await past.page(FUNCTIONS_LIST, a.TENANT_ID, a.PROJECT_ID, after=after, limit=2)
            seen += [found.id for found in page.items]
            if (after := page.next_after) is None:
                break
            await history.record(a.function_created(a.id_of(200 + len(seen)), slug=f"late-{len(seen)}"))
            await worker.turn()

        assert seen == ids[::-1]


class TestPlans:
    """However long the history, an answer as of a moment steps into the indexes."""

    @pytest.mark.parametrize("query", AS_OF_QUERIES, ids=lambda query: query.name)
    def test_every_twin_asks_for_a_position_first(self, query: AnyQuery) -> None:
        assert query.parameters[0] == "bigint"
        assert query.over == "as_of"

    async def test_a_list_reads_one_version_of_each_row_it_shows(self, workshop: Workshop) -> None:
        await workshop.catch_up()
        await _fill(workshop.database)
        listed, values = deployments_list(a.PROJECT_ID, DeploymentFilter())
        asked: list[tuple[AnyQuery, tuple[Any, ...]]] = [
            (FUNCTIONS_LIST, (a.PROJECT_ID,)),
            (INTEGRATIONS_LIST, (a.PROJECT_ID,)),
            (listed, values),
        ]

        for query, args in asked:
            after = query.beginning
            plan = await _plan(workshop.database, as_of(query), (a.TENANT_ID, 3_000, *args, after, 10))
            for node in _nodes(plan):
                assert node["Node Type"] != "Seq Scan", (query.name, plan)
                read = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
                assert read <= 40, (query.name, node)


_ROWS = """
    INSERT INTO views.{kind} (tenant_id, id, first_position, position, project_id, row)
    SELECT $1, md5(n::text)::uuid, n, 100000 + n, $2, '{{}}'::bytea FROM generate_series(1, 5000) n
"""
_VERSIONS = """
    INSERT INTO views.{kind}_history (tenant_id, id, valid_from, valid_to, row)
    SELECT $1, md5(n::text)::uuid, n + 20000 * v, n + 20000 * (v + 1),
           CASE v % 2 WHEN 0 THEN convert_to(chr(10) || '{{}}', 'UTF8') ELSE '{{}}'::bytea END
      FROM generate_series(1, 5000) n, generate_series(0, 5) v
"""


async def _fill(database: Pool) -> None:
    """A project with thousands of everything, each with a handful of versions."""
    for kind in (FUNCTIONS.kind, INTEGRATIONS.kind, DEPLOYMENTS.kind):
        await database.execute(_ROWS.format(kind=kind), a.TENANT_ID, a.PROJECT_ID)
        await database.execute(_VERSIONS.format(kind=kind), a.TENANT_ID)
        await database.execute(f"ANALYZE views.{kind}")
        await database.execute(f"ANALYZE views.{kind}_history")


async def _plan(database: Pool, query: AnyQuery, values: tuple[Any, ...]) -> Any:
    async with database.transaction() as connection:
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        text = f"EXPLAIN (ANALYZE, FORMAT JSON) {query.body(query.model.version)}"
        return json.loads(await connection.fetchval(text, *values))[0]["Plan"]


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in _nodes(child))]
