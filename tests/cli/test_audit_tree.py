"""`dcf audit checkpoint`, `prove`, `check-proof`, `consistency`: proofs that are checked without asking anybody."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cli import exits
from eventstore.event_lines import encode_event_line
from tests.api.steps import grown
from tests.cli.conftest import Running, Terminal


@pytest.fixture
def position(running: Running, owner: Terminal) -> str:
    """Of an event that is under a checkpoint; the checkpoint and its key lie in the folder."""
    owner.must("projects", "create", "shop")
    running.act(grown(running.world.services))
    Path("old.checkpoint").write_text(owner.must("audit", "checkpoint").out)
    Path("log.keys").write_text(owner.must("audit", "checkpoint", "--keys").out)
    [made] = owner.must("audit", "log", "--type", "project.created", "--json").json["items"]
    found: str = made["position"]
    return found


def _later(running: Running, owner: Terminal) -> None:
    owner.must("projects", "create", "another")
    running.act(grown(running.world.services))


class TestProve:
    @pytest.mark.parametrize("form", [(), ("--json",)])
    def test_gives_what_can_be_checked_by_itself(
        self, owner: Terminal, terminal: Terminal, position: str, form: tuple[str, ...]
    ) -> None:
        """*Method:* whoever checks it is signed in nowhere."""
        Path("proof").write_text(owner.must("audit", "prove", position, *form).out)

        checked = terminal.must("audit", "check-proof", "proof", "--key", "log.keys")
        as_json = terminal.must("audit", "check-proof", "proof", "--key", Path("log.keys").read_text(), "--json").json

        assert checked.out.startswith("project.created of ")
        assert as_json["proven"] is True
        assert as_json["position"] == int(position.partition(":")[2])

    def test_of_an_event_that_was_changed_proves_nothing(
        self, running: Running, owner: Terminal, terminal: Terminal, position: str
    ) -> None:
        place = int(position.partition(":")[2])
        [event] = running.act(running.world.log.read(place - 1, limit=1))
        Path("proof").write_text(owner.must("audit", "prove", position).out)
        Path("good.ndjson").write_bytes(encode_event_line(event))
        Path("bad.ndjson").write_bytes(encode_event_line(event).replace(b"shop", b"chop"))
        check = ("audit", "check-proof", "proof", "--key", "log.keys", "--event")

        good, bad = terminal.type(*check, "good.ndjson"), terminal.type(*check, "bad.ndjson")

        assert (good.code, bad.code) == (exits.OK, exits.FAILED)
        assert "the event is another one" in bad.err

    def test_with_a_stranger_s_key_proves_nothing(self, owner: Terminal, terminal: Terminal, position: str) -> None:
        Path("proof").write_text(owner.must("audit", "prove", position).out)
        stranger = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"

        ended = terminal.type("audit", "check-proof", "proof", "--key", stranger)

        assert ended.code == exits.FAILED
        assert "by no key that was given" in ended.err

    @pytest.mark.parametrize("content", ["", "{}", "[", "c2sp.org/tlog-proof@v1\nindex 0\n\nx", "\xff"])
    def test_what_is_no_proof_is_told(self, terminal: Terminal, position: str, content: str) -> None:
        Path("proof").write_text(content, encoding="latin-1")

        assert terminal.type("audit", "check-proof", "proof", "--key", "log.keys").code in (exits.FAILED, exits.USAGE)

    def test_the_key_is_needed(self, terminal: Terminal, position: str) -> None:
        Path("proof").write_text("x")

        assert terminal.type("audit", "check-proof", "proof").code == exits.USAGE
        assert terminal.type("audit", "check-proof", "proof", "--key", "none").code == exits.USAGE


class TestConsistency:
    def test_a_log_that_grew_goes_on_from_what_was_kept(self, running: Running, owner: Terminal, position: str) -> None:
        _later(running, owner)
        Path("new.checkpoint").write_text(owner.must("audit", "checkpoint").out)
        size = Path("old.checkpoint").read_text().splitlines()[1]

        for old, new in (("old.checkpoint", ()), ("old.checkpoint", ("new.checkpoint",)), (size, ()), (size, (size,))):
            ended = owner.must("audit", "consistency", old, *new, "--key", "log.keys", "--json")
            assert ended.json["consistent"] is True
            assert ended.json["oldSize"] == int(size)

    def test_one_that_was_rewritten_does_not(self, running: Running, owner: Terminal, position: str) -> None:
        _later(running, owner)
        text = Path("old.checkpoint").read_text()
        root = text.splitlines()[2]
        Path("old.checkpoint").write_text(text.replace(root, "A" + root[1:] if root[0] != "A" else "B" + root[1:]))

        unsigned = owner.type("audit", "consistency", "old.checkpoint")
        signed = owner.type("audit", "consistency", "old.checkpoint", "--key", "log.keys")

        assert unsigned.code == signed.code == exits.FAILED
        assert "The log was rewritten" in unsigned.err
        assert "the note was changed" in signed.err

    def test_another_log_is_named(self, owner: Terminal, position: str) -> None:
        text = Path("old.checkpoint").read_text()
        Path("old.checkpoint").write_text(text.replace("dart-cloud-functions", "another"))

        ended = owner.type("audit", "consistency", "old.checkpoint")

        assert ended.code == exits.FAILED
        assert "is another" in ended.err
        assert owner.type("audit", "consistency", "no-such-file").code == exits.USAGE


def test_a_checkpoint_stands_there_byte_for_byte(running: Running, owner: Terminal, position: str) -> None:
    note = running.act(running.world.services.tree.newest_checkpoint()).note

    assert Path("old.checkpoint").read_text() == note
    assert json.loads(owner.must("audit", "checkpoint", "--json").out)["note"] == note
    assert re.fullmatch(r"[^+\s]+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+\n", Path("log.keys").read_text())
