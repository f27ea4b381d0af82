"""`dcf audit replay` on a real PostgreSQL: what was decided, and what today's plan makes of it."""

from __future__ import annotations

import pytest

from cli import exits
from tests.cli.conftest import Terminal
from tests.projections.conftest import database, history, log
from tests.projections.history import History
from tests.projections.stories import STORIES
from tests.support import a

__all__ = ["database", "history", "log"]


@pytest.fixture
async def deployment(history: History) -> str:
    """A deployment whose events do not name what their runner had seen, so that each is judged by the one before."""
    await history.record(*STORIES["deployed and undeployed"])
    return str(a.DEPLOYMENT_ID)


@pytest.fixture
def operator(terminal: Terminal, database_url: str) -> Terminal:
    """Where the service runs."""
    terminal.environment |= {"DCF_DATABASE_URL": database_url}
    return terminal


class TestReplay:
    def test_shows_every_step_with_what_is_decided_today(self, operator: Terminal, deployment: str) -> None:
        ended = operator.type("audit", "replay", deployment)
        as_json = operator.type("audit", "replay", deployment, "--json").json

        assert ended.code == (exits.OK if as_json["agrees"] else exits.FAILED)
        assert "deployment.bundled" in ended.out
        assert "nobody decides this" in ended.out
        assert [step["version"] for step in as_json["steps"]] == list(range(1, 17))
        assert {step["decided"] for step in as_json["steps"]} >= {"", "Withdraw"}

    def test_of_all_counts_them(self, operator: Terminal, deployment: str) -> None:
        one = operator.type("audit", "replay", deployment, "--json").json
        every = operator.type("audit", "replay", "--all", "--json").json

        assert every["deployments"] == 1
        assert every["differing"] == ([] if one["agrees"] else [one])

    def test_names_what_is_not_there_and_wants_one_or_all(self, operator: Terminal, deployment: str) -> None:
        unknown = operator.type("audit", "replay", "00000000-0000-4000-8000-000000000000")

        assert unknown.code == exits.USAGE
        assert "There is no deployment" in unknown.err
        assert operator.type("audit", "replay").code == exits.USAGE
        assert operator.type("audit", "replay", deployment, "--all").code == exits.USAGE
