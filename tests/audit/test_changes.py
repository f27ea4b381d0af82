"""Differences: applied to what was before, they give what is after."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.changes import Change, changes

_LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
_NAMES = st.text("ab/~", max_size=2)
_VALUES: st.SearchStrategy[Any] = st.recursive(
    _LEAVES, lambda parts: st.dictionaries(_NAMES, parts, max_size=3), max_leaves=8
)
# A machine that is busy with others draws slowly, which says nothing about what is drawn.
_unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
_OBJECTS = st.dictionaries(_NAMES, _VALUES, max_size=3)


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Every leaf under its path; what is null, or an object without fields, counts as nothing."""
    if not isinstance(value, dict):
        return {} if value is None else {path: value}
    found: dict[str, Any] = {}
    for name, part in value.items():
        found |= _flat(part, f"{path}/{name.replace('~', '~0').replace('/', '~1')}")
    return found


class TestChanges:
    @_unhurried
    @given(value=_OBJECTS)
    def test_of_a_thing_and_itself_are_none(self, value: dict[str, Any]) -> None:
        assert changes(value, value) == ()

    @_unhurried
    @given(before=_OBJECTS, after=_OBJECTS)
    def test_lead_from_one_to_the_other(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        leaves = _flat(before)
        for change in changes(before, after):
            leaves = {p: v for p, v in leaves.items() if p != change.path and not p.startswith(f"{change.path}/")}
            leaves |= _flat(change.after, change.path)

        assert leaves == _flat(after)

    @_unhurried
    @given(before=_OBJECTS, after=_OBJECTS)
    def test_turn_around_with_their_sides(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        turned = [Change(change.path, change.after, change.before) for change in changes(before, after)]

        assert tuple(turned) == changes(after, before)

    def test_of_what_was_not_there_name_every_field(self) -> None:
        assert changes(None, {"a": 1, "b": {"c": [2]}}) == (Change("/a", None, 1), Change("/b/c", None, [2]))
