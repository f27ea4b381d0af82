"""`dcf secrets`: values that only the running function sees."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import quote

import click

from cli import exits
from cli.arguments import function_argument, project_option
from cli.epilog import epilog
from cli.lookup import function_of, project_of
from cli.session import Session, shown
from cli.trouble import Trouble
from cli.unseen import ask_unseen

# The service takes no more; a larger file is some other file.
VALUE_BYTES_MAX = 16 * 1024

_COLUMNS = {"name": "name", "version": "version", "set": "setAt"}


@click.group(
    epilog=epilog(
        "dcf secrets set hello API_TOKEN                    the value is asked for, unseen",
        "dcf secrets set hello API_TOKEN --from-file token.txt",
        "dcf secrets list hello",
    )
)
def secrets() -> None:
    """Secrets: variables whose values nobody can read again. Deploy the function for a change to count."""


@secrets.command("list", epilog=epilog("dcf secrets list hello", "dcf secrets list hello --json"))
@function_argument
@project_option
@shown
@click.pass_obj
def list_(session: Session, function: str, project: str | None) -> None:
    """List a function's secrets: names and versions, never values."""
    found = session.api.get(_path(session, project, function))["items"]
    session.screen.rows(found, _COLUMNS, empty=f"No secrets. Type: dcf secrets set {function} NAME")


@secrets.command(
    "set",
    epilog=epilog(
        "dcf secrets set hello API_TOKEN",
        "dcf secrets set hello API_TOKEN --from-file token.txt",
        "dcf secrets set hello API_TOKEN --from-file - < token.txt",
    ),
)
@function_argument
@click.argument("name")
@project_option
@click.option("--from-file", "file", metavar="FILE", help="A file with the value; - reads standard input.")
@shown
@click.pass_obj
def set_(session: Session, function: str, name: str, project: str | None, file: str | None) -> None:
    """Give a secret a value: asked for, unseen, or the content of a file without the line feed at its end.

    A value is never an argument: others on this machine could see it, and the shell would remember it.
    """
    path = f"{_path(session, project, function)}/{quote(name, safe='')}"
    value = (
        _content(file)
        if file
        else ask_unseen(
            f"Value of {name}", instead=f"dcf secrets set {function} {name} --from-file FILE, or - for what is piped"
        )
    )
    session.screen.fields(session.api.write("PUT", path, {"value": value}), _COLUMNS)


@secrets.command(epilog=epilog("dcf secrets remove hello API_TOKEN"))
@function_argument
@click.argument("name")
@project_option
@shown
@click.pass_obj
def remove(session: Session, function: str, name: str, project: str | None) -> None:
    """Take a secret from a function. Releases that were made with it keep it."""
    left = session.api.write("DELETE", f"{_path(session, project, function)}/{quote(name, safe='')}")
    session.screen.result(left, f"{name} is no secret of {function} any more.")


def _path(session: Session, project: str | None, function: str) -> str:
    owner = project_of(session, project)
    known = function_of(session.api, owner, function)
    return f"projects/{owner['projectId']}/functions/{known['functionId']}/secrets"


def _content(file: str) -> str:
    """Never repeated in an error: it may be the secret."""
    if file == "-":
        content = sys.stdin.buffer.read(VALUE_BYTES_MAX + 2)
    else:
        with Path(file).open("rb") as opened:
            content = opened.read(VALUE_BYTES_MAX + 2)
    value = content.removesuffix(b"\n")
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise Trouble(f"{file} is not text in UTF-8.", exit_code=exits.USAGE) from None
    if not text or len(value) > VALUE_BYTES_MAX:
        raise Trouble(f"{file} is empty, or has more than {VALUE_BYTES_MAX} bytes.", exit_code=exits.USAGE)
    return text
