"""`dcf audit dry-run` on a real PostgreSQL, of this release's code and of somebody's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import exits
from tests.cli.conftest import Terminal
from tests.projections.conftest import Workshop, database, history, log, workshop
from tests.projections.history import History
from tests.projections.stories import STORIES
from tests.support import a

__all__ = ["database", "history", "log", "workshop"]

CHANGED = """
import msgspec
from projections.projects import PROJECTS as BEFORE

def project(row, recorded):
    after = BEFORE.project(row, recorded)
    return after if after is None else msgspec.structs.replace(after, name=after.name.upper())

PROJECTS = msgspec.structs.replace(BEFORE, project=project)
"""


@pytest.fixture
async def operator(terminal: Terminal, database_url: str, workshop: Workshop, history: History) -> Terminal:
    """Where the service runs."""
    await history.record(*STORIES["about the rest"])
    await workshop.catch_up()
    terminal.environment |= {"DCF_DATABASE_URL": database_url}
    return terminal


class TestDryRun:
    def test_of_this_release_nothing_would_differ(self, operator: Terminal) -> None:
        ended = operator.must("audit", "dry-run", "projects")

        assert "Nothing would differ." in ended.out
        assert "Nothing was written." in ended.out

    def test_of_changed_code_each_field_is_told(self, operator: Terminal, tmp_path: Path) -> None:
        code = tmp_path / "changed.py"
        code.write_text(CHANGED)

        as_json = operator.must("audit", "dry-run", "projects", "--code", f"{code}:PROJECTS", "--json").json
        told = operator.must("audit", "dry-run", "projects", "--code", f"{code}:PROJECTS").out

        assert as_json["fields"] == {"/name": 1}
        assert f"{a.PROJECT_ID} of tenant {a.TENANT_ID}" in told
        assert '/name: served "Shop 2" -> would be "SHOP 2"' in told

    @pytest.mark.parametrize("code", ["nowhere.py:X", "no.such.module:X", "projections.projects:project", "x"])
    def test_code_that_is_no_read_model_is_refused(self, terminal: Terminal, code: str) -> None:
        assert terminal.type("audit", "dry-run", "projects", "--code", code).code == exits.USAGE

    def test_code_of_another_read_model_is_refused(self, terminal: Terminal) -> None:
        nameless = terminal.type("audit", "dry-run", "projects", "--code", "./changed.py")
        assert (nameless.code, "names no read model" in nameless.err) == (exits.USAGE, True)
        ended = terminal.type("audit", "dry-run", "projects", "--code", "projections.functions:FUNCTIONS")

        assert ended.code == exits.USAGE
        assert "is the read model functions" in ended.err
