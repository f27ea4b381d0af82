"""A key is shown once, alone; and one that nobody saw is not left behind."""

from __future__ import annotations

import json

import pytest

from cli import exits
from tests.cli.conftest import Ended, Terminal
from tests.cli.served import Answered, Script, scripted

OLD, NEW = "0192d3a4-0000-7000-8000-00000000000a", "0192d3a4-0000-7000-8000-00000000000b"
MADE = {"keyId": NEW, "name": "ci", "role": "developer", "key": "dcf_shown_once"}
KEYS = [
    {"keyId": NEW, "name": "ci", "role": "developer", "scopes": [], "revokedAt": None},
    {"keyId": OLD, "name": "ci", "role": "developer", "scopes": [], "revokedAt": "2026-01-02T03:04:05Z"},
]
LISTED = Answered(200, {"items": KEYS, "nextCursor": None})


def _type(terminal: Terminal, answers: list[Answered], *arguments: str) -> tuple[Ended, Script]:
    with scripted(*answers) as (url, script):
        return terminal.type("keys", *arguments, DCF_URL=url, DCF_KEY="dcf_key"), script


class TestCreate:
    def test_prints_the_key_alone(self, terminal: Terminal) -> None:
        made, script = _type(terminal, [Answered(201, MADE)], "create", "ci", "--expires-in", "90d")

        assert made.out == "dcf_shown_once\n"
        assert "only this once" in made.err
        assert json.loads(script.asked[0].body)["expiresAt"].endswith("Z")

    def test_may_be_for_a_project_named_by_its_name_and_have_a_limit(self, terminal: Terminal) -> None:
        projects = Answered(
            200, {"items": [{"projectId": OLD, "name": "shop", "status": "active"}], "nextCursor": None}
        )
        options = ("--for-project", "shop", "--per-minute", "120")

        _, script = _type(terminal, [projects, Answered(201, MADE)], "create", "ci", *options)

        sent = json.loads(script.asked[1].body)
        assert (sent["projects"], sent["requestsPerMinute"]) == ([OLD], 120)

    def test_revokes_one_that_was_lost_on_the_way(self, terminal: Terminal) -> None:
        lost, script = _type(terminal, [Answered(201, {**MADE, "key": None}), Answered(200, KEYS[0])], "create", "ci")

        assert lost.code == exits.FAILED
        assert (script.asked[1].method, script.asked[1].path) == ("DELETE", f"/api/v1/keys/{NEW}")

    @pytest.mark.parametrize("lifetime", ["tomorrow", "0d", "5m"])
    def test_takes_hours_days_and_weeks(self, terminal: Terminal, lifetime: str) -> None:
        refused, script = _type(terminal, [Answered(201, MADE)], "create", "ci", "--expires-in", lifetime)

        assert refused.code == exits.USAGE
        assert script.asked == []


class TestRotate:
    def test_prints_the_new_key_alone_and_asks_for_the_overlap(self, terminal: Terminal) -> None:
        answers = [LISTED, Answered(201, MADE)]

        rotated, script = _type(terminal, answers, "rotate", "ci", "--overlap", "7d")

        assert rotated.out == "dcf_shown_once\n"
        assert script.asked[1].path == f"/api/v1/keys/{NEW}/rotate"
        assert json.loads(script.asked[1].body)["overlapUntil"].endswith("Z")

    def test_revokes_one_that_was_lost_on_the_way(self, terminal: Terminal) -> None:
        answers = [LISTED, Answered(201, {**MADE, "key": None}), Answered(200, KEYS[0])]

        lost, script = _type(terminal, answers, "rotate", "ci")

        assert lost.code == exits.FAILED
        assert "dcf keys create ci" in lost.err
        assert (script.asked[2].method, script.asked[2].path) == ("DELETE", f"/api/v1/keys/{NEW}")


class TestList:
    def test_leaves_out_revoked_ones_unless_asked(self, terminal: Terminal) -> None:
        some, _ = _type(terminal, [LISTED], "list", "--json")
        both, _ = _type(terminal, [LISTED], "list", "--json", "--all")

        assert [key["keyId"] for key in some.json["items"]] == [NEW]
        assert [key["keyId"] for key in both.json["items"]] == [NEW, OLD]


class TestRevoke:
    def test_finds_the_valid_one_of_that_name(self, terminal: Terminal) -> None:
        revoked, script = _type(terminal, [LISTED, Answered(200, KEYS[0])], "revoke", "ci")

        assert revoked.code == exits.OK
        assert (script.asked[1].method, script.asked[1].body) == ("DELETE", b"")
        assert script.asked[1].path == f"/api/v1/keys/{NEW}"

    def test_an_unknown_one(self, terminal: Terminal) -> None:
        refused, _ = _type(terminal, [LISTED], "revoke", OLD)

        assert refused.code == exits.FAILED
        assert "dcf keys list" in refused.err
