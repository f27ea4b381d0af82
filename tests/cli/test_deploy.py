"""`dcf deploy` makes what is missing, says so, and its exit code tells the outcome."""

from __future__ import annotations

from pathlib import Path

from cli import exits
from tests.cli.conftest import Terminal


class TestDeploy:
    def test_makes_what_is_missing_and_says_so(self, owner: Terminal, folder: Path) -> None:
        ended = owner.must("deploy", str(folder), "--no-wait")

        assert "Created the project hello." in ended.out
        assert "Created the function hello (runtime 3.11.0, private)." in ended.out
        assert "Connected local." in ended.out
        assert "dcf deployments watch " in ended.out

    def test_makes_nothing_twice(self, owner: Terminal, folder: Path) -> None:
        owner.must("deploy", str(folder), "--no-wait")

        again = owner.must("deploy", str(folder), "--no-wait")

        assert "Created" not in again.out
        assert "Connected" not in again.out
        assert len(owner.must("deployments", "list", "--json").json["items"]) == 2

    def test_does_what_dcf_yaml_says(self, owner: Terminal, folder: Path) -> None:
        (folder / "dcf.yaml").write_text(
            "project: shop\nname: greeter\naccess: public\nenvironment: {PORT_HINT: 8080}\n"
        )

        queued = owner.must("deploy", str(folder), "--no-wait", "--json").json
        function = owner.must("functions", "show", "greeter", "--project", "shop", "--json").json

        assert queued["status"] == "queued"
        assert (function["access"], function["environment"]) == ("public", {"PORT_HINT": "8080"})

    def test_changes_the_function_when_dcf_yaml_changed(self, owner: Terminal, folder: Path) -> None:
        owner.must("deploy", str(folder), "--no-wait")
        (folder / "dcf.yaml").write_text("access: public\n")

        ended = owner.must("deploy", str(folder), "--no-wait")

        assert f"Changed the access of hello, as {folder / 'dcf.yaml'} says." in ended.out

    def test_only_validates_when_asked_to(self, owner: Terminal, folder: Path) -> None:
        ended = owner.must("deploy", str(folder), "--validate-only")

        assert "nothing was queued" in ended.out
        assert owner.must("deployments", "list", "--json").json == {"items": []}

    def test_a_refusal_before_queueing_ends_with_its_remedy(self, owner: Terminal, folder: Path) -> None:
        (folder / "pubspec.yaml").write_text("name: hello\nenvironment:\n  sdk: '>=2.0.0 <2.1.0'\n")

        refused = owner.type("deploy", str(folder))

        assert refused.code == exits.FAILED
        assert "Next:  " in refused.err

    def test_names_the_files_that_are_missing(self, owner: Terminal, folder: Path) -> None:
        (folder / "Dockerfile").unlink()
        (folder / "pubspec.yaml").unlink()

        refused = owner.type("deploy", str(folder))

        assert refused.code == exits.USAGE
        assert "has no Dockerfile and no pubspec.yaml" in refused.err

    def test_says_when_it_takes_too_long_and_how_to_go_on(self, owner: Terminal, folder: Path) -> None:
        late = owner.type("deploy", str(folder), "--timeout", "0.1")

        assert late.code == exits.TIMED_OUT
        assert "dcf deployments watch " in late.err

    def test_a_canceled_one_ends_with_its_own_code(self, owner: Terminal, folder: Path) -> None:
        queued = owner.must("deploy", str(folder), "--no-wait", "--json").json

        owner.must("deployments", "cancel", queued["deploymentId"], "--reason", "never mind")
        watched = owner.type("deployments", "watch", queued["deploymentId"], "--json")

        assert watched.code == exits.CANCELED
        assert watched.json["status"] == "canceled"
