"""Seeds are played while there is time, and what is left out is told."""

from __future__ import annotations

import pytest

from tests.support.seeds import SeedsLeftOut, seeds


def test_all_are_played_while_there_is_time() -> None:
    assert list(seeds(3, 9, at_least=1)) == [3, 4, 5, 6, 7, 8]


def test_so_many_are_played_in_any_case_and_the_rest_is_told() -> None:
    with pytest.warns(SeedsLeftOut, match="2 of 6 seeds"):
        assert list(seeds(3, 9, at_least=2, seconds_max=-1.0)) == [3, 4]
