"""The order of the tests speaks of files that there are."""

from __future__ import annotations

from tests.support.order import LONGEST, TESTS, place


def test_each_file_that_begins_first_is_there() -> None:
    assert [name for name in LONGEST if not (TESTS / name).is_file()] == []


def test_the_longest_begins_first_and_what_is_not_listed_last() -> None:
    files = [TESTS / "test_tidy.py", TESTS / LONGEST[1], TESTS / LONGEST[0]]

    assert sorted(files, key=place) == files[::-1]
