"""What users type, against the real API."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from cli import exits
from tests.cli.conftest import Running, Terminal


@pytest.fixture
def shop(owner: Terminal) -> Terminal:
    """The owner, with one project."""
    owner.must("projects", "create", "shop")
    return owner


class TestProjects:
    def test_are_created_listed_shown_and_renamed(self, owner: Terminal) -> None:
        made = owner.must("projects", "create", "shop", "--json").json
        renamed = owner.must("projects", "rename", "SHOP", "store", "-o", "json").json
        listed = owner.must("projects", "list", "--json").json["items"]

        assert renamed["projectId"] == made["projectId"]
        assert [project["name"] for project in listed] == ["store"]
        assert owner.must("projects", "show", made["projectId"]).out.splitlines()[0].split() == ["name", "store"]

    def test_say_what_to_type_when_there_are_none(self, owner: Terminal) -> None:
        assert "dcf projects create NAME" in owner.must("projects", "list").out
        assert "dcf projects create NAME" in owner.type("functions", "list").err

    def test_a_taken_name_is_refused_in_the_services_words(self, shop: Terminal) -> None:
        refused = shop.type("projects", "create", "Shop")

        assert refused.code == exits.FAILED
        assert refused.out == ""
        assert refused.err.startswith("Error: ")
        assert "Next:  " in refused.err


class TestWhichProject:
    def test_the_only_one_is_meant(self, shop: Terminal) -> None:
        assert shop.must("functions", "list").out.startswith("No functions yet")

    def test_of_several_one_must_be_named(self, shop: Terminal) -> None:
        shop.must("projects", "create", "office")

        refused = shop.type("functions", "list")

        assert refused.code == exits.USAGE
        assert "office, shop" in refused.err
        assert shop.type("functions", "list", "--project", "office").code == exits.OK
        assert shop.type("functions", "list", DCF_PROJECT="office").code == exits.OK

    def test_the_folders_dcf_yaml_names_one(self, shop: Terminal) -> None:
        shop.must("projects", "create", "office")
        Path("dcf.yaml").write_text("project: office\n")

        assert shop.type("functions", "list").code == exits.OK

    def test_one_that_is_not_there(self, shop: Terminal) -> None:
        assert "There is no project 'nowhere'." in shop.type("functions", "list", "-p", "nowhere").err


class TestFunctions:
    def test_are_created_and_shown(self, shop: Terminal) -> None:
        made = shop.must("functions", "create", "hello", "--env", "GREETING=Hi there", "--json").json

        assert made["runtime"] == "3.11.0"
        assert made["access"] == "private"
        assert "environment    GREETING=Hi there" in shop.must("functions", "show", "hello").out

    def test_an_update_adds_variables_and_takes_some_away(self, shop: Terminal) -> None:
        shop.must("functions", "create", "hello", "--env", "A=1", "--env", "B=2")

        changed = shop.must("functions", "update", "hello", "--env", "C=3", "--unset", "A", "--json").json

        assert changed["environment"] == {"B": "2", "C": "3"}

    def test_an_update_of_nothing_is_refused(self, shop: Terminal) -> None:
        shop.must("functions", "create", "hello")

        assert shop.type("functions", "update", "hello").code == exits.USAGE

    def test_a_variable_without_a_value_is_refused(self, shop: Terminal) -> None:
        refused = shop.type("functions", "create", "hello", "--env", "GREETING")

        assert refused.code == exits.USAGE
        assert "NAME=VALUE" in refused.err

    def test_one_that_is_not_there(self, shop: Terminal) -> None:
        refused = shop.type("functions", "show", "nothing")

        assert "There is no function 'nothing' in the project shop." in refused.err
        assert "dcf functions list --project shop" in refused.err


class TestIntegrations:
    def test_this_machine_is_connected_verified_and_given_storage(self, shop: Terminal) -> None:
        connected = shop.must("integrations", "connect", "local", "--json").json
        listed = shop.must("integrations", "list").out

        assert (connected["identityStatus"], connected["storageStatus"]) == ("verified", "verified")
        assert listed.splitlines()[1].split()[:4] == ["local", "verified", "verified", "verified"]
        assert shop.must("integrations", "verify", "local", "--json").json["status"] == "verified"

    def test_one_is_disconnected(self, shop: Terminal) -> None:
        shop.must("integrations", "connect", "local")

        gone = shop.must("integrations", "disconnect", "local", "--reason", "moving", "--json").json

        assert gone["status"] == "disconnected"
        assert shop.type("integrations", "disconnect", "gcp").code == exits.FAILED

    def test_a_cloud_that_is_told_no_fields_says_what_comes_first(self, shop: Terminal) -> None:
        refused = shop.type("integrations", "connect", "aws")

        assert refused.code == exits.FAILED
        assert "integration_not_found" in refused.err
        assert "Next:  Connect the provider first" in refused.err

    def test_fields_are_json(self, shop: Terminal) -> None:
        assert shop.type("integrations", "connect", "gcp", "--identity", "{").code == exits.USAGE


class TestCatalogues:
    def test_the_default_runtime_is_marked(self, owner: Terminal) -> None:
        rows = owner.must("runtimes").out.splitlines()

        assert rows[1].startswith("3.11.0 *")
        assert {"supported", "deprecating", "disabled", "default"} == set(owner.must("runtimes", "--json").json)

    def test_triggers_show_where_they_are_supported(self, owner: Terminal) -> None:
        assert "http" in owner.must("triggers").out


class TestArtifacts:
    def test_are_uploaded_by_their_names(self, shop: Terminal, folder: Path) -> None:
        files = [str(folder / name) for name in ("main.dart", "Dockerfile", "pubspec.yaml")]

        uploaded = shop.must("artifacts", "upload", *files, "--json").json["items"]

        assert [artifact["kind"] for artifact in uploaded] == ["code", "docker", "yaml"]

    def test_a_name_that_tells_nothing_needs_a_kind(self, shop: Terminal, tmp_path: Path) -> None:
        (tmp_path / "server.txt").write_text("void main() {}")

        refused = shop.type("artifacts", "upload", str(tmp_path / "server.txt"))

        assert refused.code == exits.USAGE
        assert "--kind" in refused.err


class TestArchived:
    def test_what_is_put_away_is_out_of_sight_and_its_name_free(self, shop: Terminal) -> None:
        old = shop.must("functions", "create", "hello", "--json").json

        shop.must("functions", "archive", "hello")
        new = shop.must("functions", "create", "hello", "--json").json

        assert [item["functionId"] for item in shop.must("functions", "list", "--json").json["items"]] == [
            new["functionId"]
        ]
        assert len(shop.must("functions", "list", "--all", "--json").json["items"]) == 2
        assert shop.must("functions", "show", "hello", "--json").json["functionId"] == new["functionId"]
        assert shop.must("functions", "show", old["functionId"], "--json").json["status"] == "archived"

    def test_a_project_too(self, shop: Terminal) -> None:
        shop.must("projects", "archive", "shop", "--reason", "closed")

        assert "No projects yet" in shop.must("projects", "list").out
        assert shop.must("projects", "list", "--all", "--json").json["items"][0]["status"] == "archived"


class TestMembers:
    def test_are_listed_and_the_last_owner_stays(self, owner: Terminal) -> None:
        (only,) = owner.must("members", "list", "--json").json["items"]

        for arguments in (["remove", only["personId"]], ["change-role", only["personId"], "viewer"]):
            refused = owner.type("members", *arguments)
            assert refused.code == exits.FAILED
            assert "last_owner" in refused.err

    def test_a_person_nobody_knows_is_refused_by_name(self, owner: Terminal) -> None:
        refused = owner.type("members", "add", "0192d3a4-5b6c-7d8e-9f00-112233445588", "developer")

        assert "person_not_found" in refused.err
        assert owner.type("members", "add", "someone", "developer").code == exits.USAGE
        assert owner.type("members", "add", "0192d3a4-5b6c-7d8e-9f00-112233445588", "king").code == exits.USAGE

    def test_are_invited_once_and_for_all_to_see(self, owner: Terminal) -> None:
        invited = owner.must("members", "invite", "ada@example.com", "developer")
        (listed,) = owner.must("members", "invitations", "--json").json["items"]
        owner.must("members", "withdraw", listed["invitationId"])

        assert invited.out.startswith("dcfi_")
        assert "only this once" in invited.err
        assert (listed["email"], listed["role"], listed["status"]) == ("ada@example.com", "developer", "open")
        assert "withdrawn" in owner.must("members", "invitations").out

    def test_come_change_and_go(self, owner: Terminal, running: Running) -> None:
        person = running.act(running.world.person())

        owner.must("members", "add", str(person), "developer")
        changed = owner.must("members", "change-role", str(person), "admin", "--json").json
        removed = owner.must("members", "remove", str(person), "--json").json

        assert (changed["role"], removed["role"]) == ("admin", "admin")
        assert len(owner.must("members", "list", "--json").json["items"]) == 1


class TestSecrets:
    VALUE = "correct horse battery staple"

    def test_are_set_listed_and_removed_and_never_shown(self, shop: Terminal, tmp_path: Path) -> None:
        shop.must("functions", "create", "hello")
        (tmp_path / "token.txt").write_text(f"{self.VALUE}\n")

        told = shop.must("secrets", "set", "hello", "API_TOKEN", "--from-file", str(tmp_path / "token.txt"))
        listed = shop.must("secrets", "list", "hello", "--json")
        shown = shop.must("functions", "show", "hello")
        shop.must("secrets", "remove", "hello", "API_TOKEN")

        assert [(item["name"], item["version"]) for item in listed.json["items"]] == [("API_TOKEN", 1)]
        assert "API_TOKEN" in shown.out
        assert not any(self.VALUE in ended.out + ended.err for ended in (told, listed, shown))
        assert "dcf secrets set hello NAME" in shop.must("secrets", "list", "hello").out

    def test_come_from_standard_input(self, shop: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
        shop.must("functions", "create", "hello")
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(self.VALUE.encode())))

        assert shop.must("secrets", "set", "hello", "API_TOKEN", "--from-file", "-", "--json").json["version"] == 1

    def test_are_asked_for_at_a_terminal_alone(self, shop: Terminal) -> None:
        shop.must("functions", "create", "hello")

        refused = shop.type("secrets", "set", "hello", "API_TOKEN")

        assert refused.code == exits.USAGE
        assert "Next:  dcf secrets set hello API_TOKEN --from-file FILE" in refused.err

    @pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"x" * 20_000])
    def test_that_can_be_none_are_refused_without_repeating_them(
        self, shop: Terminal, tmp_path: Path, content: bytes
    ) -> None:
        shop.must("functions", "create", "hello")
        (tmp_path / "token.txt").write_bytes(content)

        refused = shop.type("secrets", "set", "hello", "API_TOKEN", "--from-file", str(tmp_path / "token.txt"))

        assert refused.code == exits.USAGE
        assert "xxxx" not in refused.err
