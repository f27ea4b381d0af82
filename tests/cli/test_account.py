"""A key is kept where only its user reads it, and goes only where it belongs."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from cli import exits
from cli.account import Account, Logins, chosen, tidy_url
from cli.trouble import Trouble
from process.secret import Secret
from tests.api.world import World
from tests.cli.conftest import Terminal

HERE, THERE = "https://here.example", "https://there.example"


@pytest.fixture
def logins(tmp_path: Path) -> Logins:
    return Logins({"XDG_CONFIG_HOME": str(tmp_path)})


class TestLogins:
    def test_keep_a_login_for_this_user_alone(self, logins: Logins) -> None:
        logins.save(Account(HERE, Secret("dcf_key")))

        assert stat.S_IMODE(logins.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(logins.path.parent.stat().st_mode) == 0o700
        assert logins.load() == Account(HERE, Secret("dcf_key"))

    def test_a_new_login_takes_the_place_of_the_old(self, logins: Logins) -> None:
        logins.save(Account(HERE, Secret("one")))
        logins.save(Account(THERE, Secret("two")))

        assert logins.load() == Account(THERE, Secret("two"))
        assert list(logins.path.parent.iterdir()) == [logins.path]

    def test_refuse_a_file_that_others_can_read(self, logins: Logins) -> None:
        logins.save(Account(HERE, Secret("dcf_key")))
        logins.path.chmod(0o640)

        with pytest.raises(Trouble) as trouble:
            logins.load()

        assert trouble.value.then == f"chmod 600 {logins.path}"

    def test_say_that_a_file_is_broken(self, logins: Logins) -> None:
        logins.path.parent.mkdir()
        logins.path.touch(mode=0o600)
        logins.path.write_text("{")

        with pytest.raises(Trouble, match="broken"):
            logins.load()

    def test_lie_in_the_home_folder_when_there_is_no_other_place(self, tmp_path: Path) -> None:
        assert Logins({"HOME": str(tmp_path)}).path == tmp_path / ".config" / "dcf" / "login.json"


class TestChosen:
    def test_a_kept_key_is_never_sent_to_another_service(self, logins: Logins) -> None:
        logins.save(Account(HERE, Secret("dcf_key")))

        with pytest.raises(Trouble) as trouble:
            chosen(logins, {}, url=THERE, key_file=None)

        assert trouble.value.exit_code == exits.NOT_ALLOWED
        assert f"dcf login --url {THERE}" in trouble.value.then

    def test_the_same_service_written_otherwise_is_the_same(self, logins: Logins) -> None:
        logins.save(Account(HERE, Secret("dcf_key")))

        assert chosen(logins, {}, url=f"{HERE}/api/v1/", key_file=None).key == Secret("dcf_key")

    def test_the_environment_wins_over_what_is_kept(self, logins: Logins) -> None:
        logins.save(Account(HERE, Secret("dcf_key")))

        assert chosen(logins, {"DCF_KEY": "other"}, url=THERE, key_file=None) == Account(THERE, Secret("other"))

    def test_a_key_file_wins_over_both(self, logins: Logins, tmp_path: Path) -> None:
        (tmp_path / "ci.key").write_text("of the file\nnot this\n")

        found = chosen(logins, {"DCF_KEY": "other"}, url=THERE, key_file=tmp_path / "ci.key")

        assert found.key == Secret("of the file")

    def test_says_how_to_sign_in_to_the_service_that_runs_here(self, logins: Logins, tmp_path: Path) -> None:
        (tmp_path / "owner.key").touch()
        (tmp_path / "ports.json").write_text('{"api": 4711}')

        with pytest.raises(Trouble) as trouble:
            chosen(logins, {"DCF_DATA_DIR": str(tmp_path)}, url=None, key_file=None)

        assert trouble.value.then == f"dcf login --url http://127.0.0.1:4711 --key-file {tmp_path / 'owner.key'}"


class TestTidyUrl:
    @pytest.mark.parametrize("text", ["here.example", "ftp://here.example", "https://", "https://a:b@here.example", ""])
    def test_takes_only_the_address_of_a_service(self, text: str) -> None:
        with pytest.raises(Trouble) as trouble:
            tidy_url(text)

        assert trouble.value.exit_code == exits.USAGE


class TestSigningIn:
    def test_keeps_a_key_that_the_service_takes(
        self, terminal: Terminal, service: tuple[str, World], tmp_path: Path
    ) -> None:
        url, world = service
        (tmp_path / "my.key").write_text(world.owner_key)

        signed_in = terminal.must("login", "--url", url, "--key-file", str(tmp_path / "my.key"))
        me = terminal.must("whoami", "--json").json
        terminal.must("logout")
        afterwards = terminal.type("whoami")

        assert world.owner_key not in signed_in.out + signed_in.err
        assert me["role"] == "owner"
        assert afterwards.code == exits.NOT_ALLOWED

    def test_keeps_nothing_when_the_service_does_not_take_it(
        self, terminal: Terminal, service: tuple[str, World]
    ) -> None:
        url, _ = service

        refused = terminal.type("login", "--url", url, "--key", "dcf_wrong")

        assert refused.code == exits.NOT_ALLOWED
        assert not Logins(terminal.environment).path.exists()

    def test_warns_of_a_way_that_others_can_listen_on(self) -> None:
        assert Account("http://functions.example", Secret("k")).is_open
        assert not Account("http://127.0.0.1:8000", Secret("k")).is_open
        assert not Account("https://functions.example", Secret("k")).is_open
