"""The arguments and options that name a thing of the service, and that a shell can complete."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from cli.completions import deployment_names, function_names, project_names
from cli.manifest import FILE_NAME

F = TypeVar("F", bound=Callable[..., Any])


class _Email(click.ParamType[str]):
    """The service would say so too, in the words of its pattern."""

    name = "email"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"[^@\s]{1,64}@[^@\s]{1,255}", value):
            self.fail(f"{value!r} is no address like ada@example.com", param, ctx)
        return value


EMAIL = _Email()


def project_option(command: F) -> F:
    """The option `--project`, for `project_of`."""
    return click.option(
        "-p",
        "--project",
        metavar="NAME|ID",
        shell_complete=project_names,
        help=f"The project (DCF_PROJECT, the project of ./{FILE_NAME}, or the only one there is).",
    )(command)


def project_argument(command: F) -> F:
    """The project a command is about, for `project_of`."""
    return click.argument("project", metavar="NAME|ID", shell_complete=project_names)(command)


def function_argument(command: F) -> F:
    """The function a command is about, for `function_of`."""
    return click.argument("function", metavar="NAME|ID", shell_complete=function_names)(command)


def deployment_argument(command: F) -> F:
    """The deployment a command is about, for `deployment_of`."""
    return click.argument("deployment", metavar="ID|FUNCTION[#NO]", shell_complete=deployment_names)(command)
