"""`dcf completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from cli.epilog import epilog

PROGRAM = "dcf"
VARIABLE = "_DCF_COMPLETE"


@click.command(
    epilog=epilog(
        'eval "$(dcf completion bash)"            in ~/.bashrc',
        'eval "$(dcf completion zsh)"             in ~/.zshrc',
        "dcf completion fish > ~/.config/fish/completions/dcf.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that lets a shell complete dcf's commands and options."""
    kind = get_completion_class(shell)
    assert kind is not None, "click knows the three shells"
    click.echo(kind(context.find_root().command, {}, PROGRAM, VARIABLE).source())
