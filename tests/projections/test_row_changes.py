"""Row changes: whatever changes, each version is mended to the byte, and none is far from a whole one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.row_changes import LINE, WHOLE_ONE_IN, fields_before, is_kept_whole, kept, restored


class Part(msgspec.Struct, frozen=True, rename="camel"):
    """Large enough to be told field by field."""

    first_name: str = ""
    second: int = 0
    third: float = 0.0
    fourth: tuple[str, ...] = ()
    fifth: bool | None = None
    sixth: str = ""
    seventh: str = ""
    eighth: str = ""


class Sparse(msgspec.Struct, frozen=True, omit_defaults=True):
    """What JSON leaves out cannot be told field by field."""

    one: int = 0
    two: int = 0


class Thing(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    part: Part | None = None
    sparse: Sparse = Sparse()
    settings: dict[str, Any] = {}
    long_name: str = "unchanged"


_TEXTS = st.text(max_size=8) | st.just("line\nend.of{it}")
_PARTS = st.builds(
    Part,
    first_name=_TEXTS,
    second=st.integers(-(2**63), 2**63),
    third=st.floats(allow_nan=False, allow_infinity=False),
    fourth=st.lists(_TEXTS, max_size=2).map(tuple),
    fifth=st.sampled_from((None, True, False)),
)
_SETTINGS = st.dictionaries(_TEXTS, st.integers() | _TEXTS | st.none() | st.booleans(), max_size=3)
_THINGS = st.builds(
    Thing,
    name=_TEXTS,
    part=st.none() | _PARTS,
    sparse=st.builds(Sparse, one=st.integers(0, 1), two=st.integers(0, 1)),
    settings=_SETTINGS,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(_THINGS, min_size=1, max_size=30), st.integers(1, 2**40), st.integers(1, 1_000))
def test_every_version_is_mended_to_the_byte(things: list[Thing], first: int, distance: int) -> None:
    positions = [first + distance * number for number in range(len(things))]
    links = [kept(p, row, after) for p, row, after in zip(positions, things, [*things[1:], None], strict=True)]

    for number, thing in enumerate(things):
        assert restored(_chain(links[number:])) == msgspec.json.encode(thing)


def _chain(links: Sequence[bytes]) -> bytes:
    ends = next(number for number, link in enumerate(links) if not link.startswith(LINE))
    return b"".join(reversed(links[: ends + 1]))


def test_a_line_tells_what_changed_and_nothing_else() -> None:
    row = Thing("one", Part("a", 1), Sparse(1), {"k": 1})

    assert fields_before(row, msgspec.structs.replace(row, name="two")) == {"name": "one"}
    assert fields_before(row, msgspec.structs.replace(row, part=Part("a", 2))) == {"part.second": 1}
    assert fields_before(row, msgspec.structs.replace(row, part=None)) == {"part": row.part}
    assert fields_before(row, msgspec.structs.replace(row, sparse=Sparse())) == {"sparse": Sparse(1)}
    assert fields_before(row, msgspec.json.decode(msgspec.json.encode(row), type=Thing)) == {}


@pytest.mark.parametrize("after", [{"b": 2, "a": 1}, {"a": True, "b": 2}, {"a": 1, "b": 2.0}], ids=str)
def test_what_only_python_takes_for_equal_has_changed(after: dict[str, Any]) -> None:
    row = Thing(settings={"a": 1, "b": 2})
    assert fields_before(row, Thing(settings=after)) == {"settings": {"a": 1, "b": 2}}


def test_rows_that_leave_fields_out_are_kept_whole() -> None:
    assert fields_before(Sparse(1), Sparse(2)) is None
    assert kept(1, Sparse(1), Sparse(2)) == b'{"one":1}'


@pytest.mark.parametrize("distance", [1, 2, 3, 7, 8, 12, 16, 64, 100, 1_000, 4_096])
def test_no_version_is_far_from_a_whole_one(distance: int) -> None:
    whole = [number for number in range(5_000) if is_kept_whole(1 + distance * number)]
    apart = [after - before for before, after in pairwise(whole)]

    assert max(apart) <= 12 * WHOLE_ONE_IN
    assert 5_000 / len(whole) > WHOLE_ONE_IN / 2


def test_what_was_written_whole_stays_as_it_is() -> None:
    assert restored(b'{"a": 1,  "b": [2]}') == b'{"a": 1,  "b": [2]}'
