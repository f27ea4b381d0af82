"""Logs on disk: what is kept of them when they grow."""

from __future__ import annotations

from pathlib import Path

from providers.local.build_log import SEGMENT_BYTES_MAX, BuildLog
from providers.local.function_log import PART_BYTES_MAX, FunctionLog


def read_all(log: BuildLog) -> str:
    text, cursor = "", 0
    while (chunk := log.read(cursor)).next_cursor != cursor:
        text, cursor = text + chunk.text, chunk.next_cursor
    return text


class TestABuildLog:
    def test_is_empty_before_anything_was_written(self, tmp_path: Path) -> None:
        assert BuildLog(tmp_path / "none").read(5).next_cursor == 5

    def test_keeps_its_head_and_its_tail_and_says_how_much_is_left_out(self, tmp_path: Path) -> None:
        log = BuildLog(tmp_path / "log")
        line = b"x" * 4095 + b"\n"

        log.add(b"first line\n")
        for _ in range(SEGMENT_BYTES_MAX * 6 // len(line)):
            log.add(line)
        log.add(b"last line\n")

        text = read_all(log)
        assert text.startswith("first line\n")
        assert text.endswith("last line\n")
        assert "bytes left out" in text
        assert sum(path.stat().st_size for path in (tmp_path / "log").iterdir()) <= 3 * SEGMENT_BYTES_MAX

    def test_never_cuts_a_character_in_two(self, tmp_path: Path) -> None:
        log = BuildLog(tmp_path / "log")
        text = "a" + "€" * (SEGMENT_BYTES_MAX // 2)

        log.add(text.encode())

        assert read_all(log) == text


class TestAFunctionLog:
    def test_starts_over_when_it_is_full_and_keeps_one_older_part(self, tmp_path: Path) -> None:
        log = FunctionLog(tmp_path / "function.log")
        with log.path.open("ab") as output:
            output.write(b"y" * (PART_BYTES_MAX + 10))
            output.flush()

            log.turn()
            output.write(b"and on\n")

        assert log.path.read_bytes() == b"and on\n"
        assert (tmp_path / "function.log.1").stat().st_size == PART_BYTES_MAX

    def test_shows_its_last_lines(self, tmp_path: Path) -> None:
        log = FunctionLog(tmp_path / "function.log")

        for number in range(30):
            log.add(f"line {number}")

        assert log.tail(2) == "line 28\nline 29"
