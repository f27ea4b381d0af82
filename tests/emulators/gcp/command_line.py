"""How a command of the customer's is read: strictly, as `gcloud` reads it."""

from __future__ import annotations

import argparse
from typing import NoReturn


class NotACommand(Exception):
    """`gcloud` does not know it so, or it failed."""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise NotACommand(message)


def parsed(parser: argparse.ArgumentParser, words: list[str], *required: str) -> argparse.Namespace:
    for name in required:
        parser.add_argument(f"--{name}", required=True)
    return parser.parse_args([word for word in words if word not in (">/dev/null", "2>&1", "2>/dev/null")])
