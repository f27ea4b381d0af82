"""What operators type, against the real API."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from api.app import ROUTES
from api.first_start import OWNER_ID, TENANT_ID
from api.operation import operation_of
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


class TestATenant:
    def test_is_listed_with_what_became_of_it(self, operator: Terminal) -> None:
        made = operator.must("operators", "tenants", "create", "acme", "standard", "--json").json
        operator.must("operators", "tenants", "suspend", made["tenantId"], "--reason", "the invoice")
        suspended = operator.must("operators", "tenants", "list").out
        operator.must("operators", "tenants", "resume", made["tenantId"])
        operator.must("operators", "tenants", "close", made["tenantId"])
        closed = operator.must("operators", "tenants", "list", "--json").json["items"][-1]

        assert "the invoice" in suspended
        assert (closed["suspended"], closed["closedAt"] is not None) == (None, True)

    def test_has_owners_with_addresses(self, operator: Terminal) -> None:
        refused = operator.type("operators", "tenants", "invite-owner", str(TENANT_ID), "ada")

        assert refused.code == exits.USAGE
        assert "'ada' is no address like ada@example.com" in refused.err


class TestExport:
    def test_of_a_tenant_is_what_its_owner_would_get(
        self, operator: Terminal, service: tuple[str, World], tmp_path: Path
    ) -> None:
        _, world = service
        owner = Terminal(operator._capsys, {**operator.environment, "DCF_KEY": world.owner_key})
        owner.must("projects", "create", "shop")

        shown = operator.must("operators", "tenants", "export", str(TENANT_ID), str(tmp_path / "of-operator"), "--json")
        owner.must("audit", "export", str(tmp_path / "of-owner"), "--tenant", "own")

        names = [part["name"] for part in shown.json["parts"]]
        assert names
        for name in names:
            own = (tmp_path / "of-owner" / name).read_bytes()
            assert (tmp_path / "of-operator" / name).read_bytes() == own
        again = operator.type("operators", "tenants", "export", str(TENANT_ID), str(tmp_path / "of-operator"))
        assert again.code == exits.USAGE
        assert owner.type("operators", "tenants", "export", str(uuid4()), str(tmp_path / "no")).code != exits.OK


# What asks each operation, behind `dcf operators`.
COMMANDS = {
    "addRuntime": "runtimes add",
    "cancelProjectionJob": "projections cancel",
    "chooseTenantPlan": "tenants choose-plan",
    "closeTenant": "tenants close",
    "createTenant": "tenants create",
    "definePlan": "plans define",
    "dropOldBuilds": "projections drop-old",
    "erasePerson": "persons erase",
    "getMasterKey": "master-key",
    "getPlan": "plans show",
    "getProjectionJob": "projections rebuild",
    "getReadModel": "projections status",
    "getRuntimeImpact": "runtimes impact",
    "inviteOwner": "tenants invite-owner",
    "listDeploymentsOnRuntime": "runtimes impact",
    "listFunctionsOnRuntime": "runtimes impact",
    "listParkedEvents": "projections status",
    "listPlans": "plans list",
    "listQueue": "queue",
    "listReadModels": "projections status",
    "listUsage": "tenants list",
    "rebuildReadModel": "projections rebuild",
    "replayParkedEvents": "projections replay-parked",
    "resumeTenant": "tenants resume",
    "setDefaultRuntime": "runtimes default",
    "setRuntimeDates": "runtimes dates",
    "suspendTenant": "tenants suspend",
    "switchReadModelBack": "projections switch-back",
    "verifyReadModel": "projections verify",
}


class TestEveryOperation:
    def test_of_operators_has_its_command(self) -> None:
        asked = {one.name for one in map(operation_of, ROUTES) if one.permission == "operate"}

        assert asked == COMMANDS.keys(), "say which command asks it"

    @pytest.mark.parametrize("words", sorted(set(COMMANDS.values())))
    def test_is_asked_by_a_command_that_says_what_it_does(self, operator: Terminal, words: str) -> None:
        assert "Examples:" in operator.must("operators", *words.split(), "--help").out
