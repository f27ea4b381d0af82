"""Groups whose commands are imported when they are asked for, so that each starts at once."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from keyword import iskeyword
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
        name = cmd_name.replace("-", "_")
        found: click.Command = getattr(import_module(self._modules[cmd_name]), f"{name}_" if iskeyword(name) else name)
        return found
