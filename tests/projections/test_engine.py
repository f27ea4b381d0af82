"""The engine: one at work at a time, the next one when it goes, as a process and inside one."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
from prometheus_client import CollectorRegistry

from eventstore.leases import PostgresLeases
from projections.catalogue import READ_MODELS
from projections.engine import Parts, engine
from projections.monitor import Monitor
from projections.postgres_reader import PostgresReader
from projections.projects import PROJECT, PROJECTS
from projections.views import PostgresViews
from tests.projections.conftest import Workshop
from tests.projections.history import CODEC, History, fold
from tests.projections.stories import STORIES
from tests.support import a

ROOT = Path(__file__).resolve().parents[2]
SECONDS_MAX = 90


def parts_of(workshop: Workshop) -> Parts:
    return Parts(
        views=PostgresViews(workshop.database),
        log=workshop.log,
        leases=PostgresLeases(workshop.database),
        codec=CODEC,
        monitor=Monitor(CollectorRegistry()),
    )


class TestEngine:
    async def test_keeps_the_read_models_up_with_the_log(
        self, workshop: Workshop, history: History, reader: PostgresReader
    ) -> None:
        async with engine(parts_of(workshop)):
            for fact in STORIES["deployed and undeployed"]:
                position = await history.record(fact)
                assert await reader.wait_for(position, seconds_max=SECONDS_MAX)

        for model in READ_MODELS:
            plain = {key: row.raw for key, row in (await fold(workshop.log, model)).items()}
            assert {key: row.raw for key, row in (await workshop.table(model)).items()} == plain

    async def test_the_second_stands_by_until_the_first_has_gone(
        self, workshop: Workshop, history: History, reader: PostgresReader
    ) -> None:
        first, second = parts_of(workshop), parts_of(workshop)
        async with engine(first):
            assert await reader.wait_for(await history.record(a.project_created()), seconds_max=SECONDS_MAX)
            async with engine(second):
                await asyncio.sleep(0.1)
                leads = (first.monitor.leads, second.monitor.leads)
        async with engine(second):
            assert await reader.wait_for(await history.record(a.project_archived()), seconds_max=SECONDS_MAX)

        assert leads == (True, False)

    async def test_goes_on_after_a_fault_of_its_own(
        self, workshop: Workshop, history: History, reader: PostgresReader
    ) -> None:
        """A table that is gone is made again, and what it held is there again from the log once the checkpoint is."""
        async with engine(parts_of(workshop)):
            assert await reader.wait_for(await history.record(a.project_created()), seconds_max=SECONDS_MAX)
            async with workshop.database.transaction() as connection:
                await connection.execute(f"DROP TABLE views.{PROJECTS.kind}, views.{PROJECTS.kind}_history CASCADE")
                await connection.execute("DELETE FROM views.checkpoints WHERE kind = $1", PROJECTS.kind)
            assert await reader.wait_for(await history.record(a.project_renamed("Store")), seconds_max=SECONDS_MAX)

        found = await reader.one(PROJECT, a.TENANT_ID, a.PROJECT_ID)
        assert found is not None
        assert found.row.name == "Store"


@asynccontextmanager
async def process(database_url: str, data_dir: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    data_dir.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "DCF_DATABASE_URL": database_url,
        "DCF_DATA_DIR": str(data_dir),
        "DCF_PROJECTIONS_PORT": "0",
    }
    started = await asyncio.create_subprocess_exec(sys.executable, "-m", "projections", cwd=ROOT, env=environment)
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def health(data_dir: Path, path: str) -> httpx.Response:
    """What the process answers, as soon as it answers at all."""
    async with asyncio.timeout(SECONDS_MAX), httpx.AsyncClient() as client:
        while True:
            try:
                ports: dict[str, int] = msgspec.json.decode((data_dir / "ports.json").read_bytes())
                answer = await client.get(f"http://127.0.0.1:{ports['projections']}{path}")
                if path != "/health/ready" or answer.status_code == 200:
                    return answer
            except (FileNotFoundError, httpx.HTTPError):
                pass
            await asyncio.sleep(0.05)


class TestProcess:
    async def test_is_ready_measured_and_stops_when_asked(
        self, database_url: str, tmp_path: Path, history: History, reader: PostgresReader
    ) -> None:
        async with process(database_url, tmp_path / "one") as started:
            assert (await health(tmp_path / "one", "/health/ready")).json()["ready"]
            position = await history.record(a.project_created())
            assert await reader.wait_for(position, seconds_max=SECONDS_MAX)
            metrics = (await health(tmp_path / "one", "/metrics")).text

            started.send_signal(signal.SIGTERM)
            async with asyncio.timeout(SECONDS_MAX):
                assert await started.wait() == 0

        assert f'dcf_projection_lag_events{{model="projects_v{PROJECTS.version}"}}' in metrics

    async def test_when_it_is_killed_another_goes_on(
        self, database_url: str, tmp_path: Path, history: History, reader: PostgresReader
    ) -> None:
        async with process(database_url, tmp_path / "one") as first, process(database_url, tmp_path / "two"):
            assert await reader.wait_for(await history.record(a.project_created()), seconds_max=SECONDS_MAX)
            first.kill()
            await first.wait()
            position = await history.record(a.project_renamed("Store"))

            assert await reader.wait_for(position, seconds_max=SECONDS_MAX)

    async def test_says_what_is_wrong_with_a_setting(self, tmp_path: Path) -> None:
        environment = {**os.environ, "DCF_DATA_DIR": str(tmp_path), "DCF_PROJECTIONS_PORT": "many"}
        started = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "projections", cwd=ROOT, env=environment, stderr=asyncio.subprocess.PIPE
        )
        _, said = await started.communicate()

        assert started.returncode == 1
        assert b"DCF_PROJECTIONS_PORT" in said
