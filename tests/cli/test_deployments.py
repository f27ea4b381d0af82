"""A deployment is named as people do, and what is done with it becomes the next one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli import exits
from tests.api.runs import succeeded
from tests.cli.conftest import Running, Terminal


class Shop:
    """A function `hello` and its deployments, carried out when the test says so."""

    def __init__(self, owner: Terminal, folder: Path, running: Running) -> None:
        self.owner, self._folder, self._running = owner, folder, running

    def deploy(self) -> Any:
        """Queue one."""
        return self.owner.must("deploy", str(self._folder), "--no-wait", "--json").json

    def deployed(self) -> Any:
        """Queue one, and it succeeds."""
        queued = self.deploy()
        self._running.act(succeeded(self._running.world, queued))
        return queued

    def do(self, verb: str, name: str, *more: str) -> Any:
        return self.owner.must("deployments", verb, name, "--json", *more).json


@pytest.fixture
def shop(owner: Terminal, folder: Path, running: Running) -> Shop:
    return Shop(owner, folder, running)


class TestNames:
    def test_a_number_is_the_functions_own(self, shop: Shop) -> None:
        first, second = shop.deployed(), shop.deployed()

        assert shop.do("show", "hello#1")["deploymentId"] == first["deploymentId"]
        assert shop.do("show", "HELLO#2")["deploymentId"] == second["deploymentId"]

    def test_a_function_alone_is_the_newest_that_the_command_is_for(self, shop: Shop) -> None:
        first, active, queued = shop.deployed(), shop.deployed(), shop.deploy()

        assert shop.do("show", "hello")["deploymentId"] == queued["deploymentId"]
        assert shop.do("rollback", "hello", "--no-wait")["sourceDeploymentId"] == first["deploymentId"]
        assert shop.do("undeploy", "hello", "--no-wait")["deploymentId"] == active["deploymentId"]

    def test_one_that_is_not_there_says_where_to_look(self, shop: Shop) -> None:
        shop.deploy()

        for name, said in (("hello#9", "no deployment 9 of hello"), ("nothing", "no function 'nothing'")):
            refused = shop.owner.type("deployments", "show", name)
            assert refused.code == exits.FAILED
            assert said in refused.err
        none = shop.owner.type("deployments", "rollback", "hello")
        assert "hello has no deployment to go back to." in none.err
        assert "dcf deployments list --function hello --project hello" in none.err

    def test_an_id_of_nothing(self, shop: Shop) -> None:
        shop.deploy()

        refused = shop.owner.type("deployments", "show", "0192d3a4-0000-7000-8000-000000000002")

        assert refused.code == exits.FAILED
        assert "dcf deployments list" in refused.err


class TestActions:
    def test_a_rollback_is_followed_like_any_other(self, shop: Shop) -> None:
        shop.deployed()
        shop.deployed()

        late = shop.owner.type("deployments", "rollback", "hello#1", "--reason", "errors", "--timeout", "0.1")

        assert late.code == exits.TIMED_OUT
        assert "a rollback of number 1 as number 3" in late.out
        assert "deployment.queued" in late.out
        assert shop.do("show", "hello#3")["reason"] == "errors"

    def test_a_redeploy_and_a_retry_say_what_they_are_made_from(self, shop: Shop) -> None:
        first = shop.deployed()

        again = shop.do("redeploy", "hello", "--no-wait")
        shop.do("cancel", "hello")
        retried = shop.do("retry", "hello", "--no-wait")

        assert (again["origin"], again["sourceDeploymentId"]) == ("redeploy", first["deploymentId"])
        assert (retried["origin"], retried["sourceDeploymentId"]) == ("retry", again["deploymentId"])

    def test_what_cannot_be_gone_back_to_is_refused_with_the_reason(self, shop: Shop) -> None:
        shop.deployed()

        refused = shop.owner.type("deployments", "rollback", "hello#1")

        assert refused.code == exits.FAILED
        assert "rollback_active" in refused.err
        assert "redeploy it" in refused.err


class TestReading:
    def test_the_list_says_what_is_what(self, shop: Shop) -> None:
        shop.deployed()
        shop.deploy()

        rows = [line.split()[1:5] for line in shop.owner.must("deployments", "list").out.splitlines()[1:]]

        assert rows == [["hello#2", "local", "queued", "no"], ["hello#1", "local", "succeeded", "yes"]]

    def test_all_that_happened_is_listed(self, shop: Shop) -> None:
        shop.deployed()

        listed = shop.do("events", "hello")["items"]

        assert (listed[0]["type"], listed[-1]["type"]) == ("deployment.queued", "deployment.succeeded")
        assert "deployment.succeeded" in shop.owner.must("deployments", "events", "hello").out

    def test_what_differs_is_shown_field_by_field(self, shop: Shop, folder: Path) -> None:
        shop.deployed()
        (folder / "dcf.yaml").write_text("environment: {GREETING: Ahoy}\n")
        shop.deploy()

        against_active = shop.owner.must("deployments", "diff", "hello").out
        turned_round = shop.do("diff", "hello#1", "hello#2")["items"]

        assert against_active.splitlines()[1].split() == ["environment.GREETING", "-", "Ahoy", "redeploy"]
        assert [(item["before"], item["after"]) for item in turned_round] == [("Ahoy", None)]
        assert "environment.GREETING" in shop.owner.must("functions", "diff", "hello").out

    def test_each_saving_is_a_revision(self, shop: Shop) -> None:
        shop.deployed()
        shop.owner.must("functions", "update", "hello", "--env", "A=1")

        revisions = shop.owner.must("functions", "revisions", "hello", "--json").json["items"]

        assert [revision["environment"] for revision in revisions] == [{}, {"A": "1"}]

    def test_the_log_of_a_build_that_is_over_ends(self, shop: Shop) -> None:
        shop.deployed()

        logged = shop.owner.must("deployments", "logs", "hello", "--follow", "--json").json

        assert logged["text"] == ""

    def test_a_watch_ends_by_the_live_stream(self, shop: Shop) -> None:
        shop.deployed()

        watched = shop.owner.must("deployments", "watch", "hello").out

        assert watched.splitlines()[-2:] == ["succeeded", "url  http://functions.test/"]
