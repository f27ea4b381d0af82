"""Commands as people type them, found in text and parsed without being run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

import click

from cli.__main__ import dcf
from cli.session import Session

# What a shell would take for the end of a command, and a reader for "and so on".
_ENDS = {"…", "<", "|", "&&", "||", ";", ">", ">>", "2>", "&", "|&"}
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)


def commands_in(text: str) -> list[list[str]]:
    """The words of every `dcf …` that begins a line of the text, comments and redirections left out."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        words = _words(line.strip().removeprefix("$ "))
        while words and _ASSIGNMENT.fullmatch(words[0]):
            words = words[1:]
        if words and words[0] in ("dcf", "./dcf"):
            ends = [at for at, word in enumerate(words) if word in _ENDS]
            found.append(words[1 : min(ends, default=len(words))])
    return found


def parse(words: Sequence[str]) -> None:
    """Parse a command to its last option. Raises click.UsageError for one that could not be typed; nothing is run."""
    command: click.Command = dcf
    context: click.Context | None = None
    rest = list(words)
    while True:
        try:
            context = command.make_context(command.name or "dcf", rest, parent=context, obj=Session({}))
        except click.BadParameter as wrong:
            # The options were all known by then; only the file is not here.
            if wrong.param is not None and isinstance(wrong.param.type, click.Path):
                return
            raise
        if not isinstance(command, click.Group):
            return
        name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        if found is None:
            raise click.UsageError(f"No such command {name!r}.", context)
        command = found


def _words(line: str) -> list[str]:
    """As a shell splits them. A line may explain itself behind a hash; help, behind some spaces."""
    said = re.sub(r"(^|\s)#(\s.*)?$", "", line)
    lexer = shlex.shlex(re.split(r"\s{3,}(?=[a-z])", said)[0], posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    lexer.commenters = ""
    return list(lexer)
