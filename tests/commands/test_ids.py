"""New ids: of their versions, sortable where they should be, and never the same."""

from __future__ import annotations

from uuid import RFC_4122

from commands.ids import new_id, random_id


def test_a_random_one_is_of_version_4_and_never_the_same() -> None:
    made = [random_id() for _ in range(200)]

    assert {(one.version, one.variant) for one in made} == {(4, RFC_4122)}
    assert len(set(made)) == len(made)


def test_a_new_one_is_of_version_7_and_never_the_same() -> None:
    made = [new_id() for _ in range(200)]

    assert {(one.version, one.variant) for one in made} == {(7, RFC_4122)}
    assert len(set(made)) == len(made)
