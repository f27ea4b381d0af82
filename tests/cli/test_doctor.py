"""The doctor names what is wrong and what mends it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli import exits
from migrations.upgrade import newest
from process import ports
from tests.api.world import World
from tests.cli.conftest import Ended, Terminal
from tests.cli.served import Answered, scripted


@pytest.fixture
def data_dir(terminal: Terminal) -> Path:
    found = Path(terminal.environment["DCF_DATA_DIR"])
    found.mkdir()
    return found


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

    def test_people_read_it_line_by_line(self, terminal: Terminal) -> None:
        lines = terminal.must("doctor").out.splitlines()

        assert lines[0].startswith("ok    python")
        assert lines[-1].endswith("checks, none failed.")


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
