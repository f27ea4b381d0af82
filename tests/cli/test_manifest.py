"""dcf.yaml is read as it is written, and what is wrong with it is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import exits
from cli.manifest import BYTES_MAX, Manifest, Trigger, read_manifest
from cli.trouble import Trouble


def _read(folder: Path, text: str) -> Manifest:
    (folder / "dcf.yaml").write_text(text)
    found = read_manifest(folder)
    assert found is not None
    return found


class TestReadManifest:
    def test_there_need_not_be_one(self, tmp_path: Path) -> None:
        assert read_manifest(tmp_path) is None

    def test_an_empty_one_says_nothing(self, tmp_path: Path) -> None:
        assert _read(tmp_path, "# later\n") == Manifest()

    def test_text_stays_as_it_is_written(self, tmp_path: Path) -> None:
        found = _read(tmp_path, "runtime: 3.10\nenvironment: {PORT: 8080, DEBUG: yes, ZERO: 007}\n")

        assert found.runtime == "3.10"
        assert found.environment == {"PORT": "8080", "DEBUG": "yes", "ZERO": "007"}

    def test_numbers_of_a_target_are_numbers(self, tmp_path: Path) -> None:
        found = _read(tmp_path, "provider: aws\ntarget: {memoryMb: 512, region: eu-west-1, fast: true}\n")

        assert found.target == {"memoryMb": 512, "region": "eu-west-1", "fast": True}

    def test_a_trigger_may_be_only_its_type(self, tmp_path: Path) -> None:
        assert _read(tmp_path, "trigger: http").authored()["trigger"] == {"type": "http", "settings": {}}

    def test_a_trigger_may_have_settings(self, tmp_path: Path) -> None:
        text = "trigger: {type: schedule, settings: {cron: '0 3 * * *', timeZone: Europe/Madrid}}"

        assert _read(tmp_path, text).trigger == Trigger("schedule", {"cron": "0 3 * * *", "timeZone": "Europe/Madrid"})

    def test_only_what_is_given_becomes_part_of_the_record(self, tmp_path: Path) -> None:
        assert _read(tmp_path, "project: shop\naccess: public\n").authored() == {"access": "public"}

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("runtme: 3.11.0", "did you mean `runtime`?"),
            ("colour: red", "it knows project, name"),
            ("access: secret", "`access`: 'secret' is none of private, public"),
            ("environment: [a]", "`environment`"),
            ("name: a\nname: b", "stands twice (line 2)"),
            ("name: &a x\nproject: *a", "anchors and aliases are not read"),
            ("name: !!python/object:os.system x", "tags are not read"),
            ("name: [", "line 1"),
            ("- a", "Expected `object`"),
            ("environment: " + "{a: " * 12 + "b" + "}" * 12, "deeper than"),
            ("x" * (BYTES_MAX + 1), "more than"),
        ],
    )
    def test_says_what_is_wrong(self, tmp_path: Path, text: str, said: str) -> None:
        with pytest.raises(Trouble) as trouble:
            _read(tmp_path, text)

        assert said in trouble.value.message
        assert "?." not in trouble.value.message
        assert str(tmp_path / "dcf.yaml") in trouble.value.message
        assert trouble.value.exit_code == exits.USAGE

    def test_an_alias_bomb_is_refused_at_once(self, tmp_path: Path) -> None:
        bomb = "a: &a [x]\n" + "\n".join(f"b{n}: &b{n} [*a, *a]" for n in range(100))

        with pytest.raises(Trouble, match="anchors"):
            _read(tmp_path, bomb)
