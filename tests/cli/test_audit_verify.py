"""`dcf audit verify` on a real PostgreSQL: what it looks at, and how it ends."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import structlog

from cli import exits
from domain.event import SYSTEM_TENANT
from eventstore.database import connect
from eventstore.tree.tree import PostgresTree
from projections.catalogue import READ_MODELS
from projections.projects import PROJECTS
from tests.api.steps import a_project
from tests.api.world import world_on_postgres
from tests.cli.conftest import Terminal


@pytest.fixture
async def project_id(database_url: str, tmp_path: Path) -> str:
    """A project of a service that has stopped."""
    async with world_on_postgres(database_url, tmp_path / "service") as world, world.client() as client:
        made = await a_project(client)
        assert await world.services.reader.wait_for(await world.log.head(), seconds_max=10)
    async with connect(database_url, role="dcf_engine", size_max=1) as pool:
        await PostgresTree(pool).extend(at_most=1_000)
    return made


@pytest.fixture
def operator(
    terminal: Terminal, database_url: str, project_id: str, capsys: pytest.CaptureFixture[str]
) -> Iterator[Terminal]:
    """Where the service runs."""
    terminal.environment |= {"DCF_DATABASE_URL": database_url}
    capsys.readouterr()
    # Set up before, so that the command does not set up the logs of this very process.
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield terminal
    structlog.reset_defaults()


def _spoil(url: str, statement: str) -> None:
    async def spoil() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(spoil())


class TestVerify:
    def test_a_database_as_the_service_left_it_is_what_the_log_says(self, operator: Terminal) -> None:
        ended = operator.must("audit", "verify", "--json")

        assert ended.json["verified"] is True
        assert ended.json["skipped"] == {}
        assert ended.json["checked"]["projects rows"] == 1
        names = {name.partition(" ")[0] for name in ended.json["checked"]}
        assert names >= {"streams", "claims", "counters", "usage", "tree"}

    def test_an_event_that_was_changed_by_hand_is_named_by_its_position(
        self, operator: Terminal, database_url: str
    ) -> None:
        _spoil(database_url, "UPDATE log.events SET data = data || '\\x20'::bytea WHERE position = 3")

        ended, whole = operator.type("audit", "verify", "--tree"), operator.type("audit", "verify", "--json")

        assert ended.code == whole.code == exits.FAILED
        assert re.search(r"^tree 3 of tenant .*: differs: the [a-z._]+ of stream", ended.out, re.MULTILINE)
        assert [one["id"] for one in whole.json["differences"]] == ["3"]

    def test_the_tree_is_that_of_the_whole_log(self, operator: Terminal) -> None:
        assert operator.type("audit", "verify", "--tree", "--model", "usage").code == exits.USAGE
        Path("kept").write_text("no checkpoint")
        ended = operator.type("audit", "verify", "--tree", "--checkpoint", "kept")
        assert ended.code == exits.FAILED
        assert "this is no checkpoint" in ended.out

    def test_what_was_spoilt_by_hand_is_named_and_ends_with_a_code(
        self, operator: Terminal, database_url: str, project_id: str
    ) -> None:
        _spoil(
            database_url,
            f"UPDATE views.{PROJECTS.kind}"
            " SET row = convert_to(replace(convert_from(row, 'UTF8'), '\"name\":\"shop\"', '\"name\":\"hacked\"'), 'UTF8')",
        )

        ended, as_json = operator.type("audit", "verify"), operator.type("audit", "verify", "--json")

        assert ended.code == as_json.code == exits.FAILED
        assert f"projects {project_id}" in ended.out
        assert '/name: stored "hacked" -> the log says "shop"' in ended.out
        assert as_json.json["differences"][0]["changes"] == [{"path": "/name", "before": "hacked", "after": "shop"}]

    def test_looks_where_it_is_told(self, operator: Terminal, database_url: str, project_id: str) -> None:
        _spoil(database_url, f"UPDATE views.{PROJECTS.kind} SET slug = 'other'")

        assert operator.type("audit", "verify", "--stream", project_id).code == exits.FAILED
        assert operator.type("audit", "verify", "--tenant", str(SYSTEM_TENANT)).code == exits.OK
        assert operator.type("audit", "verify", "--model", "functions").code == exits.OK
        assert operator.type("audit", "verify", "--model", "projects").code == exits.FAILED
        for what in ("--stream", "--tenant"):
            unknown = operator.type("audit", "verify", what, "00000000-0000-4000-8000-000000000000")
            assert (unknown.code, "There is no" in unknown.err) == (exits.USAGE, True)

    def test_an_empty_database_has_no_log(self, terminal: Terminal, empty_database_url: str) -> None:
        ended = terminal.type("audit", "verify", DCF_DATABASE_URL=empty_database_url)

        assert ended.code == exits.FAILED
        assert "there is no log yet" in ended.err


def test_every_read_model_can_be_named(terminal: Terminal) -> None:
    shown = terminal.must("audit", "verify", "--help").out

    assert all(model.name in "".join(shown.split()) for model in READ_MODELS)
