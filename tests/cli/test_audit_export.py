"""`dcf audit export` and `import` as an operator types them, in processes of their own, on a real PostgreSQL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from cli import exits
from migrations.upgrade import migrate
from tests.api.steps import a_project
from tests.api.world import world_on_postgres
from tests.audit.test_importing import is_empty

ROOT = Path(__file__).parents[2]
SECONDS_MAX = 120


def _started(data_dir: Path, url: str, *arguments: str) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DCF_")}
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "audit", *arguments],
        cwd=ROOT,
        env={**inherited, "DCF_DATA_DIR": str(data_dir), "DCF_DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _typed(data_dir: Path, url: str, *arguments: str) -> tuple[int, str, str]:
    process = _started(data_dir, url, *arguments)
    out, err = process.communicate(timeout=SECONDS_MAX)
    return process.returncode, out, err


@pytest.fixture
async def there(database_url: str, tmp_path: Path) -> Path:
    """The data directory of a service that was used."""
    data_dir = tmp_path / "there"
    async with world_on_postgres(database_url, data_dir) as world, world.client() as client:
        for number in range(3):
            await a_project(client, f"shop-{number}")
        assert await world.services.reader.wait_for(await world.log.head(), seconds_max=20)
    (data_dir / "master.key").write_text("m" * 40 + "\n")
    return data_dir


class TestRoundTrip:
    async def test_what_was_exported_can_be_imported_and_verified(
        self, there: Path, database_url: str, empty_database_url: str, tmp_path: Path
    ) -> None:
        folder, here = tmp_path / "export", tmp_path / "here"

        code, out, err = _typed(there, database_url, "export", str(folder), "--json")
        assert code == exits.OK, err
        manifest: Any = json.loads(out)
        code, out, err = _typed(here, empty_database_url, "import", str(folder), "--check")
        assert (code, out) == (exits.OK, f"Whole and unchanged: {manifest['events']} events, 2 files.\n"), err
        code, out, err = _typed(here, empty_database_url, "import", str(folder), "--json")
        assert code == exits.OK, err
        assert json.loads(out)["events"] == manifest["events"]
        async with world_on_postgres(empty_database_url, there) as world, world.client() as client:
            names = [item["name"] for item in (await client.get("/api/v1/projects")).json()["items"]]
            assert names == ["shop-2", "shop-1", "shop-0"]
        code, out, err = _typed(here, empty_database_url, "verify", "--json")
        assert code == exits.OK, out

    async def test_a_second_time_neither_overwrites_anything(
        self, there: Path, database_url: str, tmp_path: Path
    ) -> None:
        folder = tmp_path / "export"
        assert _typed(there, database_url, "export", str(folder))[0] == exits.OK

        exported = _typed(there, database_url, "export", str(folder))
        imported = _typed(there, database_url, "import", str(folder))

        assert exported[0] == exits.USAGE
        assert "holds a whole export already" in exported[2]
        assert imported[0] == exits.FAILED
        assert "the installation is not empty" in imported[2]

    async def test_keys_ask_for_their_master_key(
        self, there: Path, database_url: str, empty_database_url: str, tmp_path: Path
    ) -> None:
        folder, here = tmp_path / "export", tmp_path / "here"
        assert _typed(there, database_url, "export", str(folder), "--with-keys")[0] == exits.OK

        refused = _typed(here, empty_database_url, "import", str(folder))
        here.mkdir(exist_ok=True)
        (here / "master.key").write_bytes((there / "master.key").read_bytes())
        done = _typed(here, empty_database_url, "import", str(folder), "--json")

        assert refused[0] == exits.FAILED
        assert "another master key" in refused[2]
        assert json.loads(done[1])["personKeys"] == 1

    async def test_an_import_that_is_killed_leaves_nothing(
        self, there: Path, database_url: str, empty_database_url: str, tmp_path: Path
    ) -> None:
        """Goal: no half import. Method: another session keeps the log's lock, so that the import waits within its
        transaction when it is killed."""
        folder, here = tmp_path / "export", tmp_path / "here"
        assert _typed(there, database_url, "export", str(folder))[0] == exits.OK
        await migrate(empty_database_url)
        holder = await asyncpg.connect(empty_database_url)
        try:
            async with holder.transaction():
                await holder.execute("SELECT pg_advisory_xact_lock(4919, 1)")
                process = _started(here, empty_database_url, "import", str(folder))
                while not await holder.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
                    assert process.poll() is None, process.communicate()
                process.send_signal(signal.SIGKILL)
                process.communicate(timeout=SECONDS_MAX)
        finally:
            await holder.close()

        assert await is_empty(empty_database_url)
        assert _typed(here, empty_database_url, "import", str(folder))[0] == exits.OK
