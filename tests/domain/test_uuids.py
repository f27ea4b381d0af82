"""UUIDs made the short way are those of the standard library."""

from __future__ import annotations

import pickle
from copy import deepcopy
from uuid import UUID, uuid5

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from domain.uuids import named_uuid, text_of, uuid_of


@given(st.integers(min_value=0, max_value=2**128 - 1))
def test_a_value_is_the_same_uuid_in_all_that_is_done_with_it(value: int) -> None:
    made, known = uuid_of(value), UUID(int=value)

    assert made == known
    assert hash(made) == hash(known)
    assert made.is_safe == known.is_safe
    assert str(made) == str(known) == text_of(known)
    assert pickle.loads(pickle.dumps(made)) == deepcopy(made) == known  # noqa: S301 -- made here
    assert msgspec.json.encode(made) == msgspec.json.encode(known)


@given(st.uuids(), st.text(st.characters(codec="utf-8")))
def test_a_name_is_the_same_uuid(namespace: UUID, name: str) -> None:
    assert named_uuid(namespace, name) == uuid5(namespace, name)
