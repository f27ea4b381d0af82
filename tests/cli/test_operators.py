"""What operators type, against the real API."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.first_start import OWNER_ID
from cli import exits
from process import ports
from tests.api.runs import succeeded
from tests.api.world import World
from tests.cli.conftest import Running, Terminal


@pytest.fixture
def operator(terminal: Terminal, service: tuple[str, World]) -> Terminal:
    """Who has the operator's key."""
    url, world = service
    terminal.environment |= {"DCF_URL": url, "DCF_KEY": world.operator_key}
    return terminal


class TestRuntimes:
    def test_are_added_dated_and_chosen(self, operator: Terminal) -> None:
        operator.must("operators", "runtimes", "add", "3.12.0", "--released", "2026-05-13")
        dated = ["--announced", "2026-06-01", "--no-deploys-after", "2099-02-11T08:00:00+01:00"]
        moved = operator.must("operators", "runtimes", "dates", "3.10.0", *dated, "--json").json
        operator.must("operators", "runtimes", "default", "3.12.0")
        back = operator.must("operators", "runtimes", "dates", "3.10.0", "--announced", "none", "--json").json

        assert moved["deprecationAnnouncedAt"] == "2026-06-01T00:00:00Z"
        assert moved["blockNewDeploysAfter"] == "2099-02-11T07:00:00Z"
        assert (moved["supportPhase"], back["supportPhase"]) == ("deprecating", "supported")
        assert operator.must("operators", "runtimes", "list").out.splitlines()[1].startswith("3.12.0 *")

    @pytest.mark.parametrize("date", ["soon", "2026-05-13T08:00:00", "2026-13-01"])
    def test_take_days_and_times_with_a_zone(self, operator: Terminal, date: str) -> None:
        refused = operator.type("operators", "runtimes", "add", "3.12.0", "--released", date)

        assert refused.code == exits.USAGE
        assert "2026-05-13T08:00:00Z" in refused.err

    def test_impact_names_what_a_date_would_touch(self, operator: Terminal, running: Running, folder: Path) -> None:
        owner = Terminal(operator._capsys, {**operator.environment, "DCF_KEY": running.world.owner_key})
        live = owner.must("deploy", str(folder), "--no-wait", "--json").json
        running.act(succeeded(running.world, live))

        touched = operator.must("operators", "runtimes", "impact", "3.11.0", "--json").json
        untouched = operator.must("operators", "runtimes", "impact", "3.10.0").out
        supposed = ["--announced", "2026-06-01", "--no-deploys-after", "2099-02-11"]
        shown = operator.must("operators", "runtimes", "impact", "3.11.0", *supposed)

        assert [function["functionId"] for function in touched["functions"]] == [live["functionId"]]
        assert [deployment["deploymentId"] for deployment in touched["deployments"]] == [live["deploymentId"]]
        assert "No function names 3.10.0." in untouched
        assert (touched["counts"]["functions"], touched["counts"]["activeDeployments"]) == (1, 1)
        assert "days until no deploys" in shown.out
        assert "days until no deploys" not in untouched
        assert operator.must("operators", "runtimes", "impact", "3.11.0", "--json").json == touched

    def test_dates_need_one(self, operator: Terminal) -> None:
        assert operator.type("operators", "runtimes", "dates", "3.10.0").code == exits.USAGE


class TestQueue:
    def test_shows_what_waits_until_it_is_over(self, operator: Terminal, running: Running, folder: Path) -> None:
        owner = Terminal(operator._capsys, {**operator.environment, "DCF_KEY": running.world.owner_key})
        waits = owner.must("deploy", str(folder), "--no-wait", "--json").json

        assert waits["deploymentId"] in operator.must("operators", "queue").out
        running.act(succeeded(running.world, waits))

        assert operator.must("operators", "queue").out == "Nothing waits.\n"
        assert owner.type("operators", "queue").code != 0


class TestPlans:
    REQUIRED = ("projects", "functionsPerProject", "members", "concurrentDeployments", "queuedDeployments")

    def test_are_defined_and_changed_limit_by_limit(self, operator: Terminal) -> None:
        limits = [word for name in self.REQUIRED for word in ("--set", f"{name}=3")]
        made = operator.must("operators", "plans", "define", "gold", *limits, "--entitle", "gke", "--json").json
        changed = operator.must(
            "operators",
            "plans",
            "change",
            "gold",
            "--set",
            "members=9",
            "--entitle",
            "aws",
            "--withdraw",
            "gke",
            "--json",
        ).json

        assert changed["limits"] == {**made["limits"], "members": 9}
        assert (made["entitlements"], changed["entitlements"]) == (["gke"], ["aws"])
        assert "members                9" in operator.must("operators", "plans", "show", "gold").out

    def test_one_that_is_not_whole_says_what_it_lacks(self, operator: Terminal) -> None:
        refused = operator.type("operators", "plans", "define", "gold", "--set", "projects=1")

        assert refused.code == exits.USAGE
        assert "--set members=NUMBER" in refused.err

    def test_a_limit_nobody_knows_is_refused(self, operator: Terminal) -> None:
        assert operator.type("operators", "plans", "change", "sandbox", "--set", "cakes=3").code == exits.FAILED
        assert operator.type("operators", "plans", "change", "sandbox", "--set", "members=few").code == exits.USAGE
        assert operator.type("operators", "plans", "change", "sandbox").code == exits.USAGE


class TestTenants:
    def test_are_listed_with_what_they_have(self, operator: Terminal) -> None:
        (row,) = operator.must("operators", "tenants", "list").out.splitlines()[1:]

        assert row.split()[0] == "default"
        assert row.split()[2] == "enterprise"

    def test_are_put_on_a_plan(self, operator: Terminal) -> None:
        (tenant,) = operator.must("operators", "tenants", "list", "--json").json["items"]

        moved = operator.must("operators", "tenants", "choose-plan", tenant["tenantId"], "sandbox", "--json").json

        assert moved["plan"] == "sandbox"
        assert operator.type("operators", "tenants", "choose-plan", tenant["tenantId"], "gold").code == exits.FAILED

    def test_are_made_suspended_resumed_and_closed(self, operator: Terminal) -> None:
        made = operator.must("operators", "tenants", "create", "acme", "standard", "--json").json
        invited = operator.must("operators", "tenants", "invite-owner", made["tenantId"], "a@b.example").out
        suspended = operator.must("operators", "tenants", "suspend", made["tenantId"], "--reason", "unpaid", "--json")
        resumed = operator.must("operators", "tenants", "resume", made["tenantId"], "--json")
        closed = operator.must("operators", "tenants", "close", made["tenantId"], "--undeploy-first", "--json")

        assert invited.startswith("dcfi_")
        assert (suspended.json["suspended"], resumed.json["suspended"]) == ("unpaid", None)
        assert closed.json["closedAt"]
        assert operator.type("operators", "tenants", "resume", made["tenantId"]).code == exits.FAILED


class TestPersons:
    def test_are_erased(self, operator: Terminal) -> None:
        erased = operator.must("operators", "persons", "erase", str(OWNER_ID), "--json").json

        assert erased == {"personId": str(OWNER_ID)}


class TestWhichKey:
    def test_an_owners_is_told_that_it_is_the_wrong_one(self, owner: Terminal) -> None:
        refused = owner.type("operators", "plans", "list")

        assert refused.code == exits.NOT_ALLOWED
        assert "--key-file operator.key" in refused.err

    def test_the_data_directorys_own_is_used_where_the_service_runs(
        self, terminal: Terminal, service: tuple[str, World]
    ) -> None:
        url, world = service
        data_dir = Path(terminal.environment["DCF_DATA_DIR"])
        data_dir.mkdir()
        (data_dir / "operator.key").write_text(f"{world.operator_key}\n")
        ports.record(data_dir, {"api": int(url.rpartition(":")[2])})

        assert "sandbox" in terminal.must("operators", "plans", "list").out


class TestMasterKey:
    def test_says_whether_former_ones_are_needed(self, operator: Terminal) -> None:
        shown = operator.must("operators", "master-key")
        found = operator.must("operators", "master-key", "--json").json

        assert "secrets of functions" in shown.out
        assert shown.out.endswith("Former master keys are not needed.\n")
        assert found["formerKeysNeeded"] is False
