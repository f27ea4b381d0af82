"""What `docs/lifecycle.md` names exists."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from domain.catalogue import AGGREGATES
from eventstore.codec import tag_of
from runner import plan

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "lifecycle.md").read_text()
FUNCTIONS = sorted(set(re.findall(r"`((?:commands|eventstore|projections|providers|runner)(?:\.\w+)+)`", PAGE)))
EVENTS = sorted(set(re.findall(r"`((?:deployment|function)\.\w+)`", PAGE)))
TAGS = {tag_of(event) for aggregate in AGGREGATES for event in aggregate.events}


class TestTheLifecyclePage:
    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_names_functions_that_exist(self, name: str) -> None:
        module, _, attribute = name.rpartition(".")

        assert hasattr(importlib.import_module(module), attribute)

    @pytest.mark.parametrize("tag", EVENTS)
    def test_names_events_that_exist(self, tag: str) -> None:
        assert tag in TAGS

    def test_states_the_limits_as_they_are(self) -> None:
        limits = (
            plan.BUNDLE_SECONDS_MAX,
            plan.BUILD_START_SECONDS_MAX,
            plan.BUILD_SECONDS_MAX,
            plan.PUSH_SECONDS_MAX,
            plan.RELEASE_SECONDS_MAX,
            plan.VERIFY_SECONDS_MORE,
            plan.ACTIVATE_SECONDS_MAX,
        )
        table = PAGE[PAGE.index("   | bundle |") : PAGE.index("   Limits (")]
        cells = [row.split("|")[-2] for row in table.split("\n") if "|" in row]
        stated = [float(number) for cell in cells for number in re.findall(r"\d+", cell)]

        assert stated == list(limits)
