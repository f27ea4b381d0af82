"""What ends a command early: an error that says what is wrong and what to type next."""

from __future__ import annotations

import sys
from typing import IO, Any

import click

from cli import exits
from cli.text import one_line


class Trouble(click.ClickException):
    """`then` is what to do or type next; `details` are lines between the two. Shown on standard error."""

    def __init__(
        self, message: str, *, then: str = "", details: tuple[str, ...] = (), exit_code: int = exits.FAILED
    ) -> None:
        super().__init__(message)
        self.then, self.details, self.exit_code = then, details, exit_code

    def show(self, file: IO[Any] | None = None) -> None:
        out = file or sys.stderr
        print(f"Error: {one_line(self.message)}", file=out)
        for line in self.details:
            print(f"  {one_line(line)}", file=out)
        if self.then:
            print(f"Next:  {one_line(self.then)}", file=out)
