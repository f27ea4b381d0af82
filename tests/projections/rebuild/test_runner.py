"""Whoever works on jobs: asks for what changed code needs, does one at a time, and takes up what another left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import msgspec
import pytest
from prometheus_client import CollectorRegistry

from eventstore.leases import PostgresLeases
from projections.active import active_versions
from projections.catalogue import QUERIES
from projections.engine import Parts, engine
from projections.monitor import Monitor
from projections.parking import parked_events
from projections.postgres_reader import PostgresReader
from projections.projects import PROJECT, PROJECTS
from projections.read_model import AnyModel
from projections.rebuild.jobs import Job, newest_job, request_job, take_job
from projections.rebuild.steps import Tools, fail
from projections.views import PostgresViews
from tests.projections.conftest import Workshop
from tests.projections.history import CODEC, History
from tests.projections.rebuild.conftest import Rebuilds
from tests.projections.test_worker import fragile, renamed_to_bad
from tests.support import a

SECONDS_MAX = 90


@asynccontextmanager
async def running(workshop: Workshop, rebuilds: Rebuilds, *models: AnyModel) -> AsyncIterator[Tools]:
    """An engine with this code's models, which works on jobs too."""
    monitor = Monitor(CollectorRegistry())
    tools = msgspec.structs.replace(rebuilds.tools, leads=lambda: monitor.leads)
    queries = [
        msgspec.structs.replace(query, model=model)
        for query in QUERIES
        for model in models
        if query.model.name == model.name
    ]
    parts = Parts(
        views=PostgresViews(workshop.database),
        log=workshop.log,
        leases=PostgresLeases(workshop.database),
        codec=CODEC,
        monitor=monitor,
        models=models,
        queries=queries,
        tools=msgspec.structs.replace(tools, queries=queries),
    )
    async with engine(parts):
        yield tools


async def eventually(look: Callable[[], Any]) -> Any:
    async with asyncio.timeout(SECONDS_MAX):
        while not (found := await look()):
            await asyncio.sleep(0.05)
        return found


async def over(workshop: Workshop, name: str) -> Job:
    """The model's last job, once it has ended."""

    async def look() -> Job | None:
        job = await newest_job(workshop.database, name)
        return job if job is not None and job.ended_at is not None else None

    job: Job = await eventually(look)
    return job


class TestChangedCode:
    async def test_asks_for_a_rebuild_by_itself_and_serves_it_without_a_gap(
        self, workshop: Workshop, history: History, rebuilds: Rebuilds, reader: PostgresReader
    ) -> None:
        """Goal: an upgrade needs nobody. Method: an engine of the old code ends, one of the new code begins, while
        somebody reads all the time."""
        newer = msgspec.structs.replace(PROJECTS, version=PROJECTS.version + 1)
        await history.record(a.project_created())
        async with running(workshop, rebuilds, PROJECTS):
            await eventually(lambda: reader.rows(PROJECT, a.TENANT_ID, a.PROJECT_ID))
        seen: list[int] = []

        async def read() -> None:
            while True:
                seen.append(len(await reader.rows(PROJECT, a.TENANT_ID, a.PROJECT_ID)))
                await asyncio.sleep(0.005)

        reading = asyncio.create_task(read())
        async with running(workshop, rebuilds, newer):
            job = await over(workshop, "projects")
            position = await history.record(a.project_renamed("Store"))
            assert await reader.wait_for(position, [PROJECT], seconds_max=SECONDS_MAX)
            (found,) = await reader.rows(PROJECT, a.TENANT_ID, a.PROJECT_ID)
        reading.cancel()

        assert (job.purpose, job.step, job.version) == ("rebuild", "done", newer.version)
        assert (await active_versions(workshop.database))["projects"].version == newer.version
        assert found.row.name == "Store"
        assert set(seen) == {1}

    async def test_leaves_a_job_that_failed_to_the_operators(
        self, workshop: Workshop, history: History, rebuilds: Rebuilds
    ) -> None:
        newer = msgspec.structs.replace(PROJECTS, version=PROJECTS.version + 1)
        await history.record(a.project_created())
        await workshop.catch_up(PROJECTS)
        job = await request_job(workshop.database, newer, "rebuild")
        await fail(workshop.database, await take_job(workshop.database, job, 1), "on purpose")

        async with running(workshop, rebuilds, newer):
            await asyncio.sleep(1.5)

        last = await newest_job(workshop.database, "projects")
        assert last is not None
        assert last.id == job.id


class TestChores:
    async def test_what_was_parked_is_applied_by_whoever_leads(
        self, workshop: Workshop, history: History, rebuilds: Rebuilds
    ) -> None:
        await history.record(a.project_created(), a.project_renamed("Bad"), a.project_archived())
        await workshop.catch_up(fragile(PROJECTS, renamed_to_bad))
        await request_job(workshop.database, PROJECTS, "replay_parked", back_to=0)

        async with running(workshop, rebuilds, PROJECTS):
            job = await over(workshop, "projects")

        assert (job.step, job.findings) == ("done", b'{"applied":2,"left":0}')
        assert await parked_events(workshop.database, PROJECTS.kind, limit=10) == []

    @pytest.mark.parametrize("purpose", ["replay_parked", "drop_old", "switch_back"])
    async def test_one_that_fails_leaves_what_is_served(
        self, workshop: Workshop, history: History, rebuilds: Rebuilds, purpose: Any
    ) -> None:
        await history.record(a.project_created())
        await workshop.catch_up(PROJECTS)
        job = await request_job(workshop.database, PROJECTS, purpose, back_to=0)

        failed = await fail(workshop.database, await take_job(workshop.database, job, 1), "on purpose")

        assert (failed.step, failed.problem) == ("failed", "on purpose")
        assert len(await workshop.table(PROJECTS)) == 1


class TestSideEffects:
    async def test_a_rebuild_records_nothing_and_tells_nobody_of_what_is_long_known(
        self, workshop: Workshop, history: History, rebuilds: Rebuilds, database_url: str
    ) -> None:
        """Goal: whoever acts on events or on rows that move is not set off again. Method: listen while it is rebuilt."""
        head = await history.record(a.project_created(), a.project_renamed("Store"))
        await workshop.catch_up(PROJECTS)
        heard: list[str] = []
        listening = await asyncpg.connect(database_url)
        for channel in ("dcf_log", "dcf_projected"):
            await listening.add_listener(channel, lambda _c, _p, channel, payload: heard.append(f"{channel} {payload}"))

        build = await rebuilds.rebuild(PROJECTS)
        await listening.fetchval("SELECT 1")
        await listening.close()

        assert await workshop.log.head() == head
        assert [text for text in heard if PROJECTS.kind in text.split() or "dcf_log" in text] == []
        assert build.kind != PROJECTS.kind
