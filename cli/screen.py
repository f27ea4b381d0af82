"""What a command shows: tables for people, JSON for programs, progress only where somebody watches."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TextIO

from cli.text import lines, one_line

Colour = Literal["plain", "bold", "dim", "red", "green", "yellow"]

_CODES: Mapping[Colour, str] = {"plain": "", "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
_CLEAR = "\r\033[K"
_TURNS = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_GAP = "  "


class Screen:
    """Results go to `out`; with `as_json` they are one JSON document, and all that is told besides goes to `err`.

    Colours and progress appear on terminals only; the variable NO_COLOR forbids colours, as does TERM=dumb.
    """

    def __init__(
        self, environment: Mapping[str, str], *, as_json: bool, out: TextIO | None = None, err: TextIO | None = None
    ) -> None:
        self.as_json = as_json
        self._out, self._err = out or sys.stdout, err or sys.stderr
        self._told = self._err if as_json else self._out
        dumb = environment.get("TERM") == "dumb"
        self._colours = not environment.get("NO_COLOR") and not dumb
        self._live = self._err.isatty() and not dumb
        self._turns = itertools.cycle(_TURNS)
        self._in_progress = False

    @property
    def is_live(self) -> bool:
        """Whether somebody watches, so that `progress` shows."""
        return self._live

    def say(self, text: str, colour: Colour = "plain") -> None:
        """Tell something on the way: not part of the result."""
        self._print(self._told, lines(text), colour)

    def warn(self, text: str) -> None:
        """Tell something that should not be overlooked, on standard error."""
        self._print(self._err, f"Warning: {one_line(text)}", "yellow")

    def progress(self, text: str) -> None:
        """A line that moves while something takes long; gone with the next thing that is said."""
        if self._live:
            print(f"{_CLEAR}{next(self._turns)} {one_line(text)}", end="", file=self._err, flush=True)
            self._in_progress = True

    def clear(self) -> None:
        """Take the progress line away."""
        if self._in_progress:
            print(_CLEAR, end="", file=self._err, flush=True)
            self._in_progress = False

    def result(self, value: object, text: str | None = None) -> None:
        """The one thing a command was asked for; `text` is how a person sees it, None: nothing beyond what was said."""
        if self.as_json:
            self._print(self._out, json.dumps(value, indent=2, ensure_ascii=False), "plain")
        elif text is not None:
            self._print(self._out, lines(text), "plain")

    def rows(self, items: Sequence[Mapping[str, Any]], columns: Mapping[str, str], *, empty: str) -> None:
        """A list: `columns` maps a heading to the (dotted) field under it. `empty` is said when there is nothing."""
        if self.as_json:
            self.result({"items": list(items)})
        elif not items:
            self.say(empty)
        else:
            self._table([[cell(item, path) for path in columns.values()] for item in items], list(columns))

    def fields(self, item: Mapping[str, Any], named: Mapping[str, str]) -> None:
        """One thing, a line a field; fields that are absent or null are left out."""
        if self.as_json:
            self.result(item)
            return
        shown = [(name, text) for name, path in named.items() if (text := cell(item, path)) != "-"]
        width = max((len(name) for name, _ in shown), default=0)
        for name, text in shown:
            print(f"{self._painted(self._out, name.ljust(width), 'dim')}{_GAP}{text}", file=self._out)

    def _table(self, rows: Sequence[Sequence[str]], headings: Sequence[str]) -> None:
        widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
        self._print(self._out, _aligned([heading.upper() for heading in headings], widths), "dim")
        for row in rows:
            print(_aligned(row, widths), file=self._out)

    def _print(self, stream: TextIO, text: str, colour: Colour) -> None:
        self.clear()
        print(self._painted(stream, text, colour), file=stream, flush=True)

    def _painted(self, stream: TextIO, text: str, colour: Colour) -> str:
        code = _CODES[colour]
        return f"\033[{code}m{text}\033[0m" if code and self._colours and stream.isatty() else text


def cell(item: Mapping[str, Any], path: str) -> str:
    """The value at a dotted path as one line of text; `-` for nothing."""
    value: Any = item
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    if value is None or value in ("", [], {}):
        return "-"
    match value:
        case bool():
            return "yes" if value else "no"
        case str():
            return one_line(_moment(value))
        case list():
            return one_line(", ".join(map(str, value)))
        case dict():
            return one_line(", ".join(f"{name}={part}" for name, part in value.items()))
        case _:
            return one_line(str(value))


def _moment(text: str) -> str:
    """A time of the API (`2026-01-02T03:04:05.678901Z`) to the second, other text as it is."""
    if len(text) >= 20 and text[4::3].startswith("-") and text[10] == "T" and text.endswith("Z"):
        return f"{text[:10]} {text[11:19]}Z"
    return text


def _aligned(cells: Iterable[str], widths: Sequence[int]) -> str:
    return _GAP.join(text.ljust(width) for text, width in zip(cells, widths, strict=True)).rstrip()
