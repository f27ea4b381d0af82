"""`dcf audit export --tenant` over HTTP: into the same folder as a whole export, and on where it was cut off."""

from __future__ import annotations

import json
from pathlib import Path

from audit.export_folder import ExportFolder
from audit.export_format import Plan
from audit.export_source import open_export
from audit.export_tar import member
from audit.importing import check_export
from cli import exits
from tests.api.world import World
from tests.cli.conftest import Terminal
from tests.cli.served import Answered, scripted


def _tenant(owner: Terminal) -> str:
    tenant_id: str = owner.must("whoami", "--json").json["tenant"]["tenantId"]
    return tenant_id


def _checked(folder: Path) -> int:
    """How many events an export has, which is whole."""
    with open_export(folder) as source:
        check_export(source, lambda _: None)
        return source.manifest.events


class TestExportOfATenant:
    def test_an_owner_gets_all_that_is_its_own(self, owner: Terminal, tmp_path: Path) -> None:
        for name in ("one", "two"):
            owner.must("projects", "create", name)

        made = owner.must("audit", "export", str(tmp_path / "ours"), "--tenant", "own", "--json").json

        log = owner.must("audit", "log", "--limit", "1000", "--json").json["items"]
        assert made["tenantId"] == _tenant(owner)
        assert made["events"] == len(log) == _checked(tmp_path / "ours")
        assert owner.type("audit", "export", str(tmp_path / "ours"), "--tenant", "own").code == exits.USAGE

    def test_an_operator_names_the_tenant(self, owner: Terminal, service: tuple[str, World], tmp_path: Path) -> None:
        tenant = _tenant(owner)
        arguments = ("audit", "export", str(tmp_path / "theirs"), "--tenant", tenant, "--json")

        ended = owner.type(*arguments, DCF_KEY=service[1].operator_key)

        assert ended.json["tenantId"] == tenant
        assert _checked(tmp_path / "theirs") > 1

    def test_goes_on_with_what_was_begun(self, owner: Terminal, tmp_path: Path) -> None:
        """What is recorded after an export was begun is not in it, however often it is taken up."""
        owner.must("projects", "create", "one")
        first = owner.must("audit", "export", str(tmp_path / "first"), "--tenant", "own", "--json").json
        fields = {name: first[name] for name in ("release", "revision", "epoch", "upTo")}
        plan = Plan(
            release=fields["release"],
            revision=fields["revision"],
            epoch=fields["epoch"],
            tenant_id=None,
            after=0,
            up_to=fields["upTo"],
        )
        begun = json.loads((tmp_path / "first" / "manifest.json").read_bytes())
        ExportFolder(tmp_path / "again").begin(plan)
        progress = tmp_path / "again" / "progress.json"
        kept = json.loads(progress.read_bytes())
        kept["plan"]["tenantId"] = begun["tenantId"]
        progress.write_text(json.dumps(kept))
        owner.must("projects", "create", "two")

        again = owner.must("audit", "export", str(tmp_path / "again"), "--tenant", "own", "--json").json

        assert again["parts"] == first["parts"]
        assert not progress.exists()

    def test_one_that_is_cut_off_says_so_and_can_be_repeated(self, owner: Terminal, tmp_path: Path) -> None:
        owner.must("projects", "create", "one")
        whole = owner.must("audit", "export", str(tmp_path / "whole"), "--tenant", "own", "--json").json
        content = _tar_of(tmp_path / "whole")
        folder = str(tmp_path / "export")
        for end in (700, len(content) // 2, len(content) - 3_000):
            with scripted(Answered(body=content[:end], media_type="application/octet-stream")) as (url, _):
                ended = owner.type("audit", "export", folder, "--tenant", "own", DCF_URL=url)
            assert ended.code == exits.UNREACHABLE, ended.err
            assert "goes on where it stopped" in ended.err
            assert not (tmp_path / "export" / "manifest.json").exists()

        assert owner.must("audit", "export", folder, "--tenant", "own", "--json").json["parts"] == whole["parts"]

    def test_keys_do_not_travel(self, owner: Terminal, tmp_path: Path) -> None:
        assert owner.type("audit", "export", str(tmp_path / "x"), "--tenant", "own", "--with-keys").code == exits.USAGE
        assert owner.type("audit", "export", str(tmp_path / "x"), "--tenant", "mine").code == exits.USAGE


def _tar_of(folder: Path) -> bytes:
    """As the service sends it: the plan first, the manifest last."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    plan = {
        name: manifest[name]
        for name in ("format", "version", "release", "revision", "tenantId", "epoch", "after", "upTo")
    }
    parts = [part["name"] for part in manifest["parts"]]
    members = [member(name, (folder / name).read_bytes()) for name in parts]
    end = member("manifest.json", (folder / "manifest.json").read_bytes()) + bytes(1024)
    return b"".join((member("plan.json", json.dumps(plan).encode()), *members, end))
