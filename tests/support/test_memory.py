"""What tests make in memory does not stay there."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.support import memory
from tests.support.memory import temporary_files_in_memory


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory, "FREE_BYTES_MIN", 0)
    monkeypatch.setattr(tempfile, "tempdir", tempfile.tempdir)
    return tmp_path


class TestTemporaryFilesInMemory:
    def test_go_with_the_session(self, place: Path) -> None:
        former = tempfile.gettempdir()

        with temporary_files_in_memory(place):
            made = Path(tempfile.mkdtemp())

            assert place in made.parents
        assert tempfile.gettempdir() == former
        assert list(place.iterdir()) == []

    def test_of_a_session_that_was_killed_go_with_the_next_and_those_of_another_stay(self, place: Path) -> None:
        killed = place / "dcf-tests-killed"
        killed.mkdir()
        (killed / "held").touch()

        with temporary_files_in_memory(place):
            other = Path(tempfile.gettempdir())
            with temporary_files_in_memory(place):
                assert not killed.exists()
                assert other.exists()

    def test_stay_on_the_disk_where_there_is_little_memory(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(memory, "FREE_BYTES_MIN", 2**60)

        with temporary_files_in_memory(place):
            assert place not in Path(tempfile.gettempdir()).parents
