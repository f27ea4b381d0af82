"""What ends a command early: an error that says what is wrong and what to type next."""

from __future__ import annotations

from typing import TextIO

import click

from cli import exits
from cli.text import one_line


class Trouble(Exception):
    """`then` is what to do or type next; `details` are lines between the two. `exit_code` is one of cli.exits.

    What to do about wrong usage is, unless it is said, to ask the command for its help.
    """

    def __init__(
        self, message: str, *, then: str = "", details: tuple[str, ...] = (), exit_code: int = exits.FAILED
    ) -> None:
        super().__init__(message)
        self.message = message
        self.then, self.details = then or _help(exit_code), details
        self.exit_code = exit_code

    def show(self, out: TextIO) -> None:
        """Print it for a person."""
        print(f"Error: {one_line(self.message)}", file=out)
        for line in self.details:
            print(f"  {one_line(line)}", file=out)
        if self.then:
            print(f"Next:  {one_line(self.then)}", file=out)


def _help(exit_code: int) -> str:
    context = click.get_current_context(silent=True) if exit_code == exits.USAGE else None
    return f"{context.command_path} --help" if context else ""
