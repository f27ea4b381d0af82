"""Real worker processes, two by accident, stopped and killed at any moment: the rows are those of the log."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from eventstore.database import Pool, connect
from projections.active import active_versions
from projections.catalogue import READ_MODELS
from projections.postgres_reader import PostgresReader
from projections.read_model import AnyModel, kind_of
from projections.rebuild.jobs import newest_job, open_jobs, request_job
from tests.projections.conftest import Workshop
from tests.projections.history import History, fold
from tests.projections.stories import STORIES, about_others, mingle

ROOT = Path(__file__).resolve().parents[2]
# On a machine that is busy with other tests.
SECONDS_MAX = 180
KILLS = 50

Process = asyncio.subprocess.Process

pytestmark = pytest.mark.timeout(600)


class Crew:
    """Processes on one database, each with a folder of its own."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url, self._folder = url, folder
        self._count = 0
        self.processes: list[Process] = []

    async def start(self) -> Process:
        self._count += 1
        environment = {
            **os.environ,
            "DCF_DATABASE_URL": self._url,
            "DCF_DATA_DIR": str(self._folder / str(self._count)),
            "DCF_PROJECTIONS_PORT": "0",
            "DCF_LOG_LEVEL": "error",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "projections", cwd=ROOT, env=environment, stderr=asyncio.subprocess.DEVNULL
        )
        self.processes.append(process)
        return process

    async def kill(self, process: Process) -> None:
        self.processes.remove(process)
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@asynccontextmanager
async def a_crew(url: str, folder: Path) -> AsyncIterator[Crew]:
    crew = Crew(url, folder)
    try:
        yield crew
    finally:
        for process in list(crew.processes):
            await crew.kill(process)


async def served(database: Pool, model: AnyModel) -> str:
    served = (await active_versions(database))[model.name]
    return kind_of(model.name, served.version, served.build)


async def assert_is_the_log(workshop: Workshop) -> None:
    """What is served of every read model is the plain fold of the log, and nothing is parked."""
    assert await workshop.database.fetchval("SELECT count(*) FROM views.parked") == 0
    for model in READ_MODELS:
        plain = {key: (row.position, row.raw) for key, row in (await fold(workshop.log, model)).items()}
        kind = await served(workshop.database, model)
        rows = await workshop.database.fetch(f"SELECT tenant_id, id, position, row FROM views.{kind}")
        assert {(row[0], row[1]): (row[2], bytes(row[3])) for row in rows} == plain, model.name


class Load:
    """Histories recorded one after another until it is told to stop."""

    def __init__(self, history: History, seed: int) -> None:
        self._history, self._chance = history, random.Random(seed)
        self._number = 0
        self.stopped = False

    async def record_some(self) -> int:
        stories = []
        for story in self._chance.sample(sorted(STORIES), 3):
            self._number += 1
            stories.append(about_others(STORIES[story], self._number))
        return await self._history.record_together(mingle(stories, self._chance))

    async def run(self) -> None:
        while not self.stopped:
            await self.record_some()
            await asyncio.sleep(0.02)


class TestTwoByAccident:
    async def test_one_that_was_stopped_for_a_while_changes_nothing_when_it_goes_on(
        self, workshop: Workshop, history: History, reader: PostgresReader, database_url: str, tmp_path: Path
    ) -> None:
        """Goal: a worker that does not know it was superseded writes nothing. Method: the one that leads is stopped in
        the middle of its work until the other leads, and then goes on beside it."""
        load = Load(history, seed=1)
        async with a_crew(database_url, tmp_path) as crew:
            first = await crew.start()
            assert await reader.wait_for(await load.record_some(), seconds_max=SECONDS_MAX)
            second = await crew.start()
            recording = asyncio.create_task(load.run())
            epoch = await _epoch(workshop.database)
            first.send_signal(signal.SIGSTOP)
            async with asyncio.timeout(SECONDS_MAX):
                while await _epoch(workshop.database) == epoch:
                    await asyncio.sleep(0.1)
            first.send_signal(signal.SIGCONT)
            await asyncio.sleep(1)
            load.stopped = True
            await recording

            assert await reader.wait_for(await workshop.log.head(), seconds_max=SECONDS_MAX)
            assert (first.returncode, second.returncode) == (None, None)
        await assert_is_the_log(workshop)


async def _epoch(database: Pool) -> int:
    """That of the worker that leads."""
    epoch: int = await database.fetchval("SELECT max(epoch) FROM views.checkpoints")
    return epoch


@pytest.mark.proof
class TestKilled:
    async def test_fifty_times_under_load_while_read_models_are_rebuilt(
        self, workshop: Workshop, history: History, reader: PostgresReader, database_url: str, tmp_path: Path
    ) -> None:
        """Goal: whatever dies, the read models equal the log at the end. Method: two processes at a time; one of them
        is killed after a moment, and another started, fifty times; a rebuild of some read model is always under way."""
        chance, load = random.Random(50), Load(history, seed=50)
        async with a_crew(database_url, tmp_path) as crew, connect(database_url, role="dcf_engine", size_max=2) as own:
            await crew.start()
            assert await reader.wait_for(await load.record_some(), seconds_max=SECONDS_MAX)
            await crew.start()
            recording = asyncio.create_task(load.run())
            for _ in range(KILLS):
                if not await open_jobs(own):
                    await request_job(own, chance.choice(READ_MODELS), "rebuild")
                await asyncio.sleep(chance.uniform(0.1, 1.5))
                await crew.kill(chance.choice(crew.processes))
                await crew.start()
            load.stopped = True
            await recording

            assert await reader.wait_for(await workshop.log.head(), seconds_max=SECONDS_MAX)
            async with asyncio.timeout(SECONDS_MAX):
                while await open_jobs(own):
                    await asyncio.sleep(0.1)
            jobs = [job for model in READ_MODELS if (job := await newest_job(own, model.name)) is not None]
            assert jobs
            assert {(job.step, job.problem) for job in jobs} == {("done", "")}
            assert await reader.wait_for(await workshop.log.head(), seconds_max=SECONDS_MAX)
        await assert_is_the_log(workshop)
