"""Tools for rebuilds in this very process, on a database of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from eventstore.database import Pool, connect
from eventstore.leases import PostgresLeases, Wanted
from projections.active import active_versions
from projections.catalogue import QUERIES
from projections.engine import LEASE_NAME
from projections.read_model import AnyModel
from projections.rebuild.jobs import Job, Purpose, find_job, request_job, take_job
from projections.rebuild.steps import Tools, carry_out
from tests.projections.conftest import *  # noqa: F403 - the same ground
from tests.projections.conftest import Workshop
from tests.projections.history import CODEC


class Rebuilds:
    """Asks for jobs and carries them out, as whoever holds the newest epoch."""

    def __init__(self, workshop: Workshop, database: Pool) -> None:
        self.workshop = workshop
        self.leases = PostgresLeases(database)
        self.tools = Tools(
            database=database,
            log=workshop.log,
            leases=self.leases,
            codec=CODEC,
            queries=QUERIES,
            lanes=1,
            launch=None,
            lease_name=LEASE_NAME,
            leads=lambda: False,
            one_lane_events_max=0,
        )

    async def request(self, model: AnyModel, purpose: Purpose = "rebuild", **more: Any) -> Job:
        return await request_job(self.workshop.database, model, purpose, **more)

    async def carry_out(self, job: Job, model: AnyModel, **tools: Any) -> Job:
        """Take the job under a new epoch and do what is left of it."""
        name = f"rebuild {job.id}"
        (lease,) = await self.leases.acquire([Wanted(name)], holder=job.id, seconds=60)
        taken = await take_job(self.workshop.database, job, lease.epoch)
        build = msgspec.structs.replace(model, version=job.version, build=job.build)
        return await carry_out(msgspec.structs.replace(self.tools, **tools), taken, build)

    async def rebuild(self, model: AnyModel, purpose: Purpose = "rebuild", **tools: Any) -> AnyModel:
        """The build that came of it; it went well."""
        job = await self.carry_out(await self.request(model, purpose), model, **tools)
        assert (job.step, job.problem) == ("done", "")
        return msgspec.structs.replace(model, build=job.build)

    async def job(self, job: Job) -> Job:
        found = await find_job(self.workshop.database, job.id)
        assert found is not None
        return found

    async def served(self, model: AnyModel) -> AnyModel:
        served = (await active_versions(self.workshop.database))[model.name]
        return msgspec.structs.replace(model, version=served.version, build=served.build)


@pytest.fixture
async def rebuilds(workshop: Workshop, database_url: str) -> AsyncIterator[Rebuilds]:
    async with connect(database_url, role="dcf_engine", size_max=6) as pool:
        yield Rebuilds(workshop, pool)


Asked = Callable[[], None]
