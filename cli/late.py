"""Groups whose commands are imported when they are asked for, so that each starts at once."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path
from typing import Any

import click


class LateCommands(click.Group):
    """`modules` says where each command is, under its own name; they are listed in this order."""

    def __init__(self, *args: Any, modules: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._modules:
            return None
        found: click.Command = getattr(import_module(self._modules[cmd_name]), _defined(cmd_name))
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click's own; what is said of each command is read, not imported: that would take a second."""
        limit = formatter.width - 6 - max(map(len, self._modules))
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._said(name).get_short_help_str(limit)) for name in self._modules])

    def _said(self, name: str) -> click.Command:
        """A command of that name which says what the one in the module says."""
        module = find_spec(self._modules[name])
        text = ast.parse(Path(module.origin).read_bytes()) if module and module.origin else ast.Module([], [])
        defined = (part for part in text.body if isinstance(part, ast.FunctionDef) and part.name == _defined(name))
        return click.Command(name, help=next((ast.get_docstring(part) for part in defined), None))


def _defined(command: str) -> str:
    """What the command is called in its module."""
    name = command.replace("-", "_")
    return f"{name}_" if iskeyword(name) else name
