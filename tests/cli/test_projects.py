"""A project's deployments are locked and unlocked."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cli import exits
from tests.cli.conftest import Ended, Terminal
from tests.cli.served import Answered, Script, scripted

ID = "0192d3a4-0000-7000-8000-00000000000a"
BY = {"type": "key", "id": "0192d3a4-0000-7000-8000-00000000000b"}
LOCK = {
    "reason": "audit",
    "lockedBy": BY,
    "lockedAt": "2026-03-01T12:00:00Z",
    "expiresAt": "2026-03-02T00:00:00Z",
}
SHOP = {"projectId": ID, "name": "shop", "status": "active", "deployLock": None}


def _type(terminal: Terminal, answer: dict[str, Any], *arguments: str, shop: Any = SHOP) -> tuple[Ended, Script]:
    listed = Answered(200, {"items": [shop], "nextCursor": None})
    with scripted(listed, Answered(200, answer)) as (url, script):
        return terminal.type("projects", *arguments, DCF_URL=url, DCF_KEY="dcf_key"), script


class TestLock:
    @pytest.mark.parametrize(
        ("until", "hours"),
        [("12h", 12), ("a time", 30), (None, None)],
    )
    def test_says_why_and_for_how_long(self, terminal: Terminal, until: str | None, hours: int | None) -> None:
        if until == "a time":
            assert hours is not None
            until = (datetime.now(UTC) + timedelta(hours=hours)).isoformat(timespec="seconds")
        given = ("--for", until) if until else ()

        ended, script = _type(
            terminal, {"projectId": ID, "deployLock": LOCK}, "lock", "shop", "--reason", "audit", *given
        )

        sent = json.loads(script.asked[1].body)
        assert (script.asked[1].method, script.asked[1].path) == ("PUT", f"/api/v1/projects/{ID}/deploy-lock")
        assert sent["reason"] == "audit"
        assert ("expiresAt" in sent) == (hours is not None)
        if hours is not None:
            ahead = datetime.fromisoformat(sent["expiresAt"]) - datetime.now(UTC)
            assert abs(ahead - timedelta(hours=hours)) < timedelta(minutes=5)
        assert "Deployments of shop are locked until 2026-03-02T00:00:00Z." in ended.out

    @pytest.mark.parametrize("until", ["tomorrow", "0d", "2026-03-01T12:00:00"])
    def test_takes_a_while_or_a_time_with_its_zone(self, terminal: Terminal, until: str) -> None:
        refused, script = _type(terminal, {}, "lock", "shop", "--reason", "audit", "--for", until)

        assert refused.code == exits.USAGE
        assert script.asked == []

    def test_is_shown_with_the_project(self, terminal: Terminal) -> None:
        shown, _ = _type(terminal, {}, "show", "shop", shop=SHOP | {"deployLock": LOCK})

        assert all(text in shown.out for text in ("audit", BY["id"], "2026-03-02"))


class TestUnlock:
    def test_takes_the_lock_away(self, terminal: Terminal) -> None:
        ended, script = _type(terminal, {"projectId": ID, "deployLock": None}, "unlock", "shop")

        assert (script.asked[1].method, script.asked[1].path) == ("DELETE", f"/api/v1/projects/{ID}/deploy-lock")
        assert "shop is not locked." in ended.out
