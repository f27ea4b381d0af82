"""Azurite where it cannot be had: it is said why, soon, and nothing stays behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.emulators.azure.azurite.fetching import AzuriteUnavailable, fetched

LOCK = Path(__file__).parent / "azure" / "azurite" / "package-lock.json"


def test_without_node_it_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(AzuriteUnavailable, match="needs node and npm"):
        fetched(tmp_path / "toolchain")

    assert not (tmp_path / "toolchain").exists()


@pytest.mark.proof
@pytest.mark.skipif(shutil.which("npm") is None or shutil.which("node") is None, reason="there is no npm")
def test_without_a_registry_it_tells_what_npm_says_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))

    with pytest.raises(AzuriteUnavailable, match=r"npm could not fetch Azurite: .*ECONNREFUSED"):
        fetched(tmp_path / "toolchain")

    assert [path.name for path in (tmp_path / "toolchain").iterdir()] == ["azurite.lock"]


def test_every_package_has_its_hash_and_none_an_address() -> None:
    packages = json.loads(LOCK.read_text())["packages"]
    del packages[""]

    assert [name for name, package in packages.items() if not package["integrity"].startswith("sha512-")] == []
    assert [name for name, package in packages.items() if "resolved" in package] == []
