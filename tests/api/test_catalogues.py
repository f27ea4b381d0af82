"""Runtimes and trigger types over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest

from api.catalogues import grouped
from projections.runtimes import Runtime
from tests.api.steps import ask

RELEASED = datetime(2026, 1, 1, tzinfo=UTC)
ANNOUNCED = datetime(2026, 2, 1, tzinfo=UTC)
BLOCKED = datetime(2026, 3, 1, tzinfo=UTC)
STOPPED = datetime(2026, 4, 1, tzinfo=UTC)


class TestRuntimes:
    async def test_come_in_three_groups_and_under_an_alias(self, client: httpx.AsyncClient) -> None:
        body = await ask(client, "GET", "/runtimes")

        assert body == await ask(client, "GET", "/runtime-versions")
        assert body["default"] == "3.11.0"
        assert [row["version"] for row in body["supported"]] == ["3.11.0", "3.10.0"]
        assert body["deprecating"] == []
        assert [(row["version"], row["deployable"], row["executable"]) for row in body["disabled"]] == [
            ("3.9.0", False, True)
        ]
        assert set(body["supported"][0]) == {
            "version",
            "releasedAt",
            "deprecationAnnouncedAt",
            "blockNewDeploysAfter",
            "disableExecutionAfter",
            "supportPhase",
            "deployable",
            "executable",
        }

    def test_the_default_is_one_that_new_drafts_can_choose(self) -> None:
        chosen = Runtime(version="3.10.0")
        dated = [
            Runtime(version="3.10.0", released_at=RELEASED, deprecation_announced_at=ANNOUNCED),
            Runtime(version="3.11.0", released_at=RELEASED),
            Runtime(version="3.12.0-1.beta", released_at=RELEASED),
        ]

        assert grouped([chosen, *dated], RELEASED).default == "3.10.0"
        assert grouped([chosen, *dated], ANNOUNCED).default == "3.11.0"
        assert grouped([chosen, dated[0]], ANNOUNCED).default == ""

    @pytest.mark.parametrize(
        ("at", "group"),
        [(RELEASED, "supported"), (ANNOUNCED, "deprecating"), (BLOCKED, "disabled"), (STOPPED, "disabled")],
    )
    def test_a_runtime_is_in_the_later_group_from_the_instant_on(self, at: datetime, group: str) -> None:
        row = Runtime(
            version="3.10.0",
            released_at=RELEASED,
            deprecation_announced_at=ANNOUNCED,
            block_new_deploys_after=BLOCKED,
            disable_execution_after=STOPPED,
        )

        groups = grouped([row], at)

        assert [entry.version for entry in getattr(groups, group)] == ["3.10.0"]
        assert getattr(groups, group)[0].executable is (at < STOPPED)


class TestTriggerTypes:
    async def test_each_says_its_settings_and_where_it_is_supported(self, client: httpx.AsyncClient) -> None:
        entries = {
            entry["type"]: entry for entry in (await ask(client, "GET", "/functions/trigger-types"))["triggerTypes"]
        }

        assert set(entries) == {"http", "schedule", "event"}
        assert entries["http"]["providers"]["local"] == "supported"
        assert entries["schedule"]["settingsSchema"]["required"] == ["cron"]
        assert entries["schedule"]["settingsSchema"]["additionalProperties"] is False
