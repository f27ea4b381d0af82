"""Text of others made safe for a terminal: what a function's author or a build wrote cannot steer it."""

from __future__ import annotations

import re

# Everything but tab and line feed that a terminal acts upon, C1 controls and direction overrides included.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def lines(text: str) -> str:
    """The text with its line ends and tabs, and nothing else a terminal would act upon."""
    return _CONTROLS.sub("\ufffd", _COLOURS.sub("", text.replace("\r\n", "\n")))


def one_line(text: str) -> str:
    """The same in one line."""
    return lines(text).replace("\n", " ").replace("\t", " ")
