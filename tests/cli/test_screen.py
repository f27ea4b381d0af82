"""Tables for people, JSON for programs, and nothing a terminal would act upon."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from cli.screen import Screen, cell


class Tty(io.StringIO):
    """What claims to be a terminal."""

    def isatty(self) -> bool:
        return True


COLUMNS = {"name": "name", "phase": "runtime.phase"}
ITEMS: list[dict[str, Any]] = [
    {"name": "hello", "runtime": {"phase": "supported"}},
    {"name": "a longer one", "runtime": None},
]


class TestTables:
    def test_are_aligned(self) -> None:
        out = io.StringIO()

        Screen({}, as_json=False, out=out).rows(ITEMS, COLUMNS, empty="")

        assert out.getvalue().splitlines() == [
            "NAME          PHASE",
            "hello         supported",
            "a longer one  -",
        ]

    def test_say_what_to_do_when_empty(self) -> None:
        out = io.StringIO()

        Screen({}, as_json=False, out=out).rows([], COLUMNS, empty="None. Type: dcf deploy")

        assert out.getvalue() == "None. Type: dcf deploy\n"

    def test_become_json_whole(self) -> None:
        out = io.StringIO()

        Screen({}, as_json=True, out=out).rows(ITEMS, COLUMNS, empty="None.")

        assert json.loads(out.getvalue()) == {"items": ITEMS}

    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            (None, "-"),
            ("", "-"),
            ([], "-"),
            ({}, "-"),
            (True, "yes"),
            (False, "no"),
            (0, "0"),
            (["a", "b"], "a, b"),
            ({"A": "1", "B": "2"}, "A=1, B=2"),
            ("2026-01-02T03:04:05.678901Z", "2026-01-02 03:04:05Z"),
            ("two\nlines", "two lines"),
        ],
    )
    def test_show_each_value_in_one_line(self, value: object, shown: str) -> None:
        assert cell({"field": value}, "field") == shown


class TestColours:
    def test_are_for_terminals(self) -> None:
        out, file = Tty(), io.StringIO()

        Screen({}, as_json=False, out=out, err=Tty()).say("well", "green")
        Screen({}, as_json=False, out=file, err=io.StringIO()).say("well", "green")

        assert out.getvalue() == "\033[32mwell\033[0m\n"
        assert file.getvalue() == "well\n"

    @pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
    def test_can_be_forbidden(self, environment: dict[str, str]) -> None:
        out = Tty()

        Screen(environment, as_json=False, out=out, err=Tty()).say("well", "green")

        assert out.getvalue() == "well\n"


class TestJson:
    def test_is_alone_on_standard_output(self) -> None:
        out, err = io.StringIO(), io.StringIO()
        screen = Screen({}, as_json=True, out=out, err=err)

        screen.say("working")
        screen.warn("mind this")
        screen.result({"done": True}, "Done.")

        assert json.loads(out.getvalue()) == {"done": True}
        assert err.getvalue() == "working\nWarning: mind this\n"


class TestProgress:
    def test_leaves_no_trace_where_nobody_watches(self) -> None:
        out, err = io.StringIO(), io.StringIO()

        Screen({}, as_json=False, out=out, err=err).progress("building")

        assert out.getvalue() + err.getvalue() == ""

    def test_is_gone_before_anything_else_is_said(self) -> None:
        out, err = io.StringIO(), Tty()
        screen = Screen({}, as_json=False, out=out, err=err)

        screen.progress("building")
        screen.say("built")

        assert err.getvalue().endswith("building\r\033[K")


class TestForeignText:
    @pytest.mark.parametrize("text", ["\033]0;title\007", "\033[2J", "a\rb", "\x9b31m", "\u202eevil"])
    def test_cannot_steer_the_terminal(self, text: str) -> None:
        out = Tty()

        Screen({}, as_json=False, out=out, err=Tty()).say(text)

        assert not set(out.getvalue()) & set("\033\007\r\x9b\u202e")

    def test_keeps_its_lines_and_tabs(self) -> None:
        out = io.StringIO()

        Screen({}, as_json=False, out=out).say("a\tb\r\n\033[31mred\033[0m")

        assert out.getvalue() == "a\tb\nred\n"
