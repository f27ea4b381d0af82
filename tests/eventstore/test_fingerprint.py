"""Code is named by its source: another source, another name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from domain.catalogue import AGGREGATES
from eventstore.codec import Codec
from eventstore.fingerprint import fingerprint
from eventstore.upcasters import Upcaster
from tests.eventstore.tally import TALLY


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Path]:
    """A package with a module `shape` and what that is made of, `size`."""
    folder = tmp_path / "fingerprinted"
    folder.mkdir()
    for name in ("__init__", "shape", "size"):
        (folder / f"{name}.py").write_text(f'"""{name}"""\n')
    sys.path.insert(0, str(tmp_path))
    import_module("fingerprinted.shape")
    yield folder
    sys.path.remove(str(tmp_path))
    for name in [name for name in sys.modules if name.startswith("fingerprinted")]:
        del sys.modules[name]


class TestFingerprint:
    def test_is_the_same_for_the_same_code(self, package: Path) -> None:
        assert fingerprint(["fingerprinted.shape"]) == fingerprint(["fingerprinted.shape"]) != ""

    @pytest.mark.parametrize("changed", ["shape", "size"])
    def test_changes_with_the_module_and_with_what_it_may_be_made_of(self, package: Path, changed: str) -> None:
        before = fingerprint(["fingerprinted.shape"])

        (package / f"{changed}.py").write_text('"""Another."""\n')

        assert fingerprint(["fingerprinted.shape"]) != before

    def test_changes_when_a_file_is_moved(self, package: Path) -> None:
        before = fingerprint(["fingerprinted.shape"])

        (package / "size.py").rename(package / "height.py")

        assert fingerprint(["fingerprinted.shape"]) != before

    def test_is_empty_without_sources(self) -> None:
        assert fingerprint(["sys"]) == ""


class TestCodec:
    def test_names_the_code_of_what_it_reads(self) -> None:
        assert Codec(AGGREGATES).code == Codec(AGGREGATES).code != Codec([TALLY]).code != ""

    def test_names_that_of_its_upcasters_too(self, package: Path) -> None:
        def upcast(fields: dict[str, object]) -> dict[str, object]:
            return fields

        upcast.__module__ = "fingerprinted.shape"
        upcasters = [Upcaster("tally.counted", 1, upcast)]
        before = Codec([TALLY], upcasters).code

        (package / "shape.py").write_text('"""Another."""\n')

        assert Codec([TALLY], upcasters).code != before != Codec([TALLY]).code
