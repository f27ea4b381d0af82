"""`dcf log` where the service runs: what is where, old parts into files, and back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import structlog

from cli import exits
from eventstore.database import connect
from eventstore.postgres import PostgresLog
from tests.cli.conftest import Terminal
from tests.commands.test_execute import record
from tests.eventstore.archive.conftest import failed
from tests.eventstore.test_partitions import _MAKE_SMALL, SIZE
from tests.support import a

_BEHIND = """
    INSERT INTO views.checkpoints (kind, model, version, position) VALUES ('projects_v1', 'projects', 1, 3)
"""


@pytest.fixture
async def filled(database_url: str) -> str:
    """Two full parts and one begun."""
    async with connect(database_url, role="dcf_owner", size_max=1) as owner:
        await owner.execute(_MAKE_SMALL)
    async with (
        connect(database_url, role="dcf_engine", size_max=2) as pool,
        PostgresLog(pool, database_url, role="dcf_engine") as log,
    ):
        await record(log, a.project_created())
        for number in range(SIZE):
            await record(log, *failed(number)[: 3 if number % 2 else 2])
    return database_url


@pytest.fixture
def operator(terminal: Terminal, filled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Terminal]:
    terminal.environment |= {"DCF_DATABASE_URL": filled, "DCF_ARCHIVE_DIR": str(tmp_path / "archive")}
    capsys.readouterr()
    # Set up before, so that the command does not set up the logs of this very process.
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield terminal
    structlog.reset_defaults()


def where(operator: Terminal) -> list[str]:
    return [item["where"] for item in operator.must("log", "show", "--json").json["items"]]


def do(url: str, statement: str) -> None:
    async def ask() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(ask())


class TestLog:
    def test_goes_into_files_and_back(self, operator: Terminal, tmp_path: Path) -> None:
        assert where(operator) == ["database"] * 3 + ["empty"]

        archived = operator.must("log", "archive", "--older-than", "0h", "--json")
        assert [(item["firstPosition"], item["lastPosition"]) for item in archived.json["items"]] == [
            (1, SIZE),
            (SIZE + 1, 2 * SIZE),
        ]
        assert where(operator) == ["archive", "archive", "database", "empty"]
        checked = operator.must("log", "check", "--dir", str(tmp_path / "archive"))
        assert f"{2 * SIZE} events in 2 files" in checked.out
        assert "Nothing is old enough" in operator.must("log", "archive", "--older-than", "0h").out

        assert "put back" in operator.must("log", "unarchive", "--from", str(SIZE + 1)).out
        assert where(operator) == ["archive", *["database"] * 2, "empty"]
        operator.must("log", "unarchive")
        assert where(operator) == ["database"] * 3 + ["empty"]
        assert "Nothing of it is archived" in operator.must("log", "unarchive").out

    def test_says_first_what_it_would_do(self, operator: Terminal) -> None:
        said = operator.must("log", "archive", "--older-than", "0h", "--dry-run")

        assert f"positions 1 to {SIZE} would be archived" in said.out
        assert where(operator) == ["database"] * 3 + ["empty"]

    def test_keeps_what_is_young(self, operator: Terminal) -> None:
        assert "Nothing is old enough" in operator.must("log", "archive").out

    def test_keeps_what_a_read_model_has_not_read(self, operator: Terminal, filled: str) -> None:
        do(filled, _BEHIND)

        ended = operator.type("log", "archive", "--older-than", "0h")

        assert ended.code == exits.FAILED
        assert "projects_v1 is at position 3" in ended.err

    def test_finds_a_damaged_file(self, operator: Terminal, tmp_path: Path) -> None:
        operator.must("log", "archive", "--older-than", "0h")
        [first, *_] = sorted((tmp_path / "archive").glob("*.gz"))
        first.write_bytes(first.read_bytes()[:-1])

        ended = operator.type("log", "check")

        assert ended.code == exits.FAILED
        assert first.name in ended.err
        assert operator.type("log", "unarchive").code == exits.FAILED

    def test_verifying_and_exporting_everything_read_what_was_archived(self, operator: Terminal) -> None:
        operator.must("log", "archive", "--older-than", "0h")

        for command in (("audit", "verify"), ("audit", "export", "exported")):
            ended = operator.type(*command, DCF_ARCHIVE_DIR="")
            assert ended.code == exits.FAILED
            assert "DCF_ARCHIVE_DIR" in ended.err
            operator.must(*command)

    @pytest.mark.parametrize("arguments", [("--older-than", "soon"), ("--older-than", "1.5d")])
    def test_refuses_what_is_no_age(self, operator: Terminal, arguments: tuple[str, ...]) -> None:
        assert operator.type("log", "archive", *arguments).code == exits.USAGE

    def test_asks_where(self, operator: Terminal) -> None:
        del operator.environment["DCF_ARCHIVE_DIR"]

        ended = operator.type("log", "check")

        assert ended.code == exits.USAGE
        assert "--dir" in ended.err
