"""How what was recorded is told in lines of text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from cli.client import Json
from cli.screen import Colour, cell

_POSITION_COLUMNS, _TYPE_COLUMNS = 10, 30
_VALUE_LENGTH_MAX = 200


def event_line(event: Json) -> str:
    """One entry of the log: its position, when, what, of which entity, by whom, and why."""
    actor = event["actor"]
    who = f"{actor['type']} {actor['id']}".strip()
    why = event.get("reason") or ""
    data = event.get("data") or {}
    if event["type"] == "command.refused":
        why = f"{data.get('command', '')}: {data.get('code', '')}"
    parts = [
        event["position"].ljust(_POSITION_COLUMNS),
        cell(event, "at"),
        event["type"].ljust(_TYPE_COLUMNS),
        event["entityId"],
        who,
    ]
    return "  ".join([*parts, *([why] if why else [])])


def event_colour(event: Json) -> Colour:
    """Refusals and failures stand out."""
    kind = event["type"]
    return "red" if kind == "command.refused" or kind.endswith("failed") else "plain"


def change_lines(changes: Iterable[Json], *, before: str = "", after: str = "") -> list[str]:
    """One line a field; the words stand in front of the values."""
    return [
        f"  {change['path'] or '/'}: {_worded(before, change['before'])} -> {_worded(after, change['after'])}"
        for change in changes
    ]


def _worded(word: str, value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    short = text if len(text) <= _VALUE_LENGTH_MAX else f"{text[:_VALUE_LENGTH_MAX]}…"
    return f"{word} {short}" if word else short
