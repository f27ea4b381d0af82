"""A value that is typed and never shown."""

from __future__ import annotations

import sys

import click

from cli import exits
from cli.trouble import Trouble


def ask_unseen(what: str, *, instead: str) -> str:
    """Ask for it at the terminal. Raises Trouble where there is none, saying what to type `instead`."""
    if not sys.stdin.isatty():
        raise Trouble(f"There is no terminal to type it at: {what}.", then=instead, exit_code=exits.USAGE)
    typed: str = click.prompt(what, hide_input=True, err=True)
    return typed
