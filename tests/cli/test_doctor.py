"""The doctor names what is wrong and what mends it."""

from __future__ import annotations

import asyncio
import fcntl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from api.first_start import TENANT_ID
from cli import exits
from cli.doctor_database import skew
from eventstore.wrapping import key_id_of
from migrations.upgrade import newest
from process import ports
from process.master_key import key_for
from process.secret import Secret
from tests.api.world import World
from tests.cli.conftest import Ended, Running, Terminal
from tests.cli.served import Answered, scripted

_BEHIND = """
    INSERT INTO log.events (position, tenant_id, stream_id, version, type, schema_version, recorded_at, meta, data)
    VALUES (1, gen_random_uuid(), gen_random_uuid(), 0, 'test', 1, now(), '', '');
    INSERT INTO views.active_versions (model, version) VALUES ('usage', 1);
    INSERT INTO views.checkpoints (kind, model, version) VALUES ('usage_v1', 'usage', 1);
"""
_PARKED = """
    INSERT INTO views.parked (tenant_id, kind, position, stream_id, ids, error)
    VALUES (gen_random_uuid(), 'usage_v1', 1, gen_random_uuid(), '{}', $$KeyError: 'x'$$);
"""


@pytest.fixture
def data_dir(terminal: Terminal) -> Path:
    found = Path(terminal.environment["DCF_DATA_DIR"])
    found.mkdir()
    return found


def _looked_at(terminal: Terminal, database_url: str, name: str) -> Any:
    return _check(terminal.type("doctor", "--json", DCF_DATABASE_URL=database_url), name)


async def _run(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def _check(ended: Ended, name: str) -> Any:
    return next(check for check in ended.json["checks"] if check["check"] == name)


class TestDoctor:
    def test_a_machine_where_nothing_ran_yet_has_nothing_broken(self, terminal: Terminal) -> None:
        ended = terminal.must("doctor", "--json")

        assert ended.json["failed"] == 0
        assert "dcf serve" in _check(ended, "service")["remedy"]
        assert _check(ended, "account")["status"] == "warn"

    def test_a_setting_that_cannot_be_used(self, terminal: Terminal) -> None:
        ended = terminal.type("doctor", "--json", DCF_PORT="many")

        assert ended.code == exits.FAILED
        assert "DCF_PORT" in _check(ended, "settings")["message"]

    def test_a_variable_that_is_no_setting(self, terminal: Terminal) -> None:
        found = _check(terminal.type("doctor", "--json", DCF_POTR="8000"), "settings")

        assert found["remedy"] == "did you mean DCF_PORT?"

    def test_a_key_that_others_can_read(self, terminal: Terminal, data_dir: Path) -> None:
        (data_dir / "owner.key").write_text("dcf_key")
        (data_dir / "owner.key").chmod(0o644)

        ended = terminal.type("doctor", "--json")

        assert ended.code == exits.FAILED
        assert _check(ended, "keys")["remedy"].startswith(f"chmod 600 {data_dir / 'owner.key'}")

    def test_a_process_that_does_not_answer(self, terminal: Terminal, data_dir: Path) -> None:
        listener = ports.listen("127.0.0.1", 0, variable="-")
        ports.record(data_dir, {"api": listener.getsockname()[1]})
        listener.close()

        ended = terminal.type("doctor", "--json")

        assert ended.code == exits.FAILED
        assert "does not answer" in _check(ended, "api")["message"]
        assert _check(ended, "runner")["message"] == "not started"

    def test_a_process_that_is_not_ready(self, terminal: Terminal, data_dir: Path) -> None:
        unready = Answered(503, {"ready": False, "checks": {"database": "ok", "projections": "behind"}})
        with scripted(unready) as (url, _):
            ports.record(data_dir, {"api": int(url.rpartition(":")[2])})

            ended = terminal.type("doctor", "--json")

        assert _check(ended, "api")["message"] == "not ready: projections: behind"

    def test_a_process_with_something_to_look_after(self, terminal: Terminal, data_dir: Path) -> None:
        degraded = Answered(
            200, {"ready": True, "checks": {"database": "ok", "parked": "degraded: usage_v1 (2 streams)"}}
        )
        with scripted(degraded) as (url, _):
            ports.record(data_dir, {"projections": int(url.rpartition(":")[2])})

            found = _check(terminal.type("doctor", "--json"), "projections")

        assert (found["status"], found["message"]) == ("warn", "parked: usage_v1 (2 streams)")

    def test_deployments_that_wait_for_a_runner(self, terminal: Terminal, data_dir: Path) -> None:
        told = Answered(200, b"dcf_runner_queue_age_seconds 300.0\n", media_type="text/plain")
        with scripted(told) as (url, _):
            ports.record(data_dir, {"runner": int(url.rpartition(":")[2])})

            found = _check(terminal.type("doctor", "--json"), "queue")

        assert found["message"] == "a deployment has been waiting for 300 s"

    def test_a_port_that_is_taken(self, terminal: Terminal) -> None:
        with ports.listen("127.0.0.1", 0, variable="-") as listener:
            port = listener.getsockname()[1]

            found = _check(terminal.type("doctor", "--json", DCF_RUNNER_PORT=str(port)), "ports")

        assert f"port {port} is taken by process" in found["message"]
        assert "DCF_RUNNER_PORT" in found["remedy"]

    def test_a_data_directory_that_is_none(self, terminal: Terminal, data_dir: Path) -> None:
        (data_dir / "file").write_text("")

        found = _check(terminal.type("doctor", "--json", DCF_DATA_DIR=str(data_dir / "file")), "data")

        assert found["status"] == "fail"

    def test_a_master_key_that_is_gone(self, terminal: Terminal, data_dir: Path) -> None:
        (data_dir / "postgres" / "data").mkdir(parents=True)

        found = _check(terminal.type("doctor", "--json"), "keys")

        assert found["status"] == "fail"
        assert "backup" in found["remedy"]

    def test_a_database_that_ended_while_the_service_runs(self, terminal: Terminal, data_dir: Path) -> None:
        (data_dir / "postgres" / "data").mkdir(parents=True)
        (data_dir / "postgres" / "server.log").write_text(
            "2026-01-02 03:04:05 UTC [7] FATAL:  could not write: No space left on device\n"
            "2026-01-02 03:04:05 UTC [1] LOG:  database system is shut down\n"
        )
        with (data_dir / "serve.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)

            found = _check(terminal.type("doctor", "--json"), "database")

        assert found["message"] == "the embedded PostgreSQL ended: could not write: No space left on device"
        assert "make room" in found["remedy"]

    def test_a_database_that_does_not_answer(self, terminal: Terminal) -> None:
        ended = terminal.type("doctor", "--json", DCF_DATABASE_URL="postgresql://dcf:hunter2@127.0.0.1:1/dcf")

        assert _check(ended, "database")["status"] == "fail"
        assert "hunter2" not in ended.out

    def test_a_database_without_a_schema(self, terminal: Terminal, empty_database_url: str) -> None:
        ended = terminal.type("doctor", "--json", DCF_DATABASE_URL=empty_database_url)

        assert _check(ended, "database")["remedy"] == "dcf migrate"

    def test_a_database_that_is_up_to_date(self, terminal: Terminal, database_url: str) -> None:
        ended = terminal.type("doctor", "--json", DCF_DATABASE_URL=database_url)

        assert _check(ended, "database")["status"] == "ok"

    async def test_read_models_that_stand_still(self, terminal: Terminal, database_url: str) -> None:
        await _run(database_url, _BEHIND)

        found = await asyncio.to_thread(_looked_at, terminal, database_url, "read models")

        assert found["status"] == "fail"
        assert "1 events behind" in found["message"]

    async def test_streams_that_were_set_aside(self, terminal: Terminal, database_url: str) -> None:
        await _run(database_url, _PARKED)

        found = await asyncio.to_thread(_looked_at, terminal, database_url, "parked")

        assert found["status"] == "fail"
        assert "usage_v1 (1 streams); KeyError: 'x'" in found["message"]

    async def test_a_master_key_that_wraps_not_everything(self, terminal: Terminal, database_url: str) -> None:
        keys = {"DCF_MASTER_KEY": "n" * 32, "DCF_FORMER_MASTER_KEYS": "o" * 32}
        ids = [key_id_of(key_for(Secret(key), "person-keys")) for key in (*keys.values(), "x" * 32)]

        def look() -> tuple[str, str]:
            ended = terminal.type("doctor", "--json", DCF_DATABASE_URL=database_url, **keys)
            found = _check(ended, "master key")
            return found["status"], found["message"]

        seen = [await asyncio.to_thread(look)]
        for key_id in ids:
            add = f"SELECT vault.add_person_key(gen_random_uuid(), gen_random_uuid(), 'key', '{key_id}')"
            await _run(database_url, add)
            seen.append(await asyncio.to_thread(look))

        free = ("ok", "every key that is kept is wrapped by it; DCF_FORMER_MASTER_KEYS can be unset")
        needed = ("warn", "1 keys may need a former master key still")
        assert seen == [free, free, needed, ("fail", "1 keys are wrapped by a master key that is not given")]

    async def test_a_tree_that_nobody_keeps(self, terminal: Terminal, database_url: str) -> None:
        await _run(database_url, _BEHIND)

        found = await asyncio.to_thread(_looked_at, terminal, database_url, "log tree")

        assert found["status"] == "warn"
        assert found["message"] == "0 of 1 events are in the tree, no checkpoint yet"

    def test_an_engine_that_is_asked_for_and_not_there(
        self, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", "")

        ended = terminal.type("doctor", "--json", DCF_LOCAL_ENGINE="podman")

        assert _check(ended, "engine")["status"] == "fail"

    def test_a_service_that_takes_the_key(self, terminal: Terminal, service: tuple[str, World]) -> None:
        url, world = service

        ended = terminal.type("doctor", "--json", DCF_URL=url, DCF_KEY=world.owner_key)

        assert _check(ended, "account")["message"] == f"{url} takes the key: owner of default"

    def test_a_key_that_expired_or_was_revoked(self, terminal: Terminal, running: Running) -> None:
        world = running.world
        ended = running.act(world.key(TENANT_ID, "viewer", expires_at=world.services.clock() - timedelta(hours=1)))

        found = _check(terminal.type("doctor", "--json", DCF_URL=running.url, DCF_KEY=ended), "account")

        assert "The API key expired at " in found["message"]
        assert f"dcf login --url {running.url}" in found["remedy"]

    def test_an_address_of_something_else(self, terminal: Terminal) -> None:
        with scripted(Answered(404, {"title": "Not found", "status": 404})) as (url, _):
            found = _check(terminal.type("doctor", "--json", DCF_URL=url, DCF_KEY="dcf_key"), "account")

        assert found["remedy"] == "check the address: dcf login --url URL"

    @pytest.mark.parametrize(
        ("seconds", "status"), [(0.5, "ok"), (-3.0, "ok"), (30.0, "warn"), (-30.0, "warn"), (3600.0, "fail")]
    )
    def test_clocks_that_are_apart(self, seconds: float, status: str) -> None:
        before = datetime(2026, 1, 1, tzinfo=UTC)
        after = before + timedelta(seconds=1)

        assert skew(before, before + timedelta(seconds=seconds), after, "theirs").status == status

    def test_people_read_it_line_by_line(self, terminal: Terminal) -> None:
        lines = terminal.must("doctor").out.splitlines()

        assert lines[0].startswith("ok    python")
        assert "checks, none failed, " in lines[-1]


class TestMigrate:
    def test_brings_the_schema_up_to_date(self, terminal: Terminal, empty_database_url: str) -> None:
        first = terminal.type("migrate", "--json", DCF_DATABASE_URL=empty_database_url)
        again = terminal.type("migrate", "--json", DCF_DATABASE_URL=empty_database_url)

        assert first.json == again.json == {"revision": newest()}

    def test_says_when_there_is_no_database(self, terminal: Terminal) -> None:
        ended = terminal.type("migrate", DCF_DATABASE_URL="postgresql://dcf:hunter2@127.0.0.1:1/dcf")

        assert ended.code == exits.FAILED
        assert "hunter2" not in ended.err
        assert "Next:  dcf doctor" in ended.err
