"""`dcf`, which is `python -m cli`: every command, for users over HTTP and for operators over the packages."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

import click

from cli import exits
from cli.completion import PROGRAM, VARIABLE
from cli.epilog import epilog
from cli.late import LateCommands
from cli.session import Session
from cli.trouble import Trouble
from process.release import release

# Where each command is.
COMMANDS: Mapping[str, str] = {
    "serve": "cli.operating",
    "login": "cli.signing",
    "logout": "cli.signing",
    "whoami": "cli.signing",
    "projects": "cli.projects",
    "functions": "cli.functions",
    "secrets": "cli.secrets",
    "artifacts": "cli.artifacts",
    "integrations": "cli.integrations",
    "deploy": "cli.deploy",
    "deployments": "cli.deployments",
    "runtimes": "cli.catalogues",
    "triggers": "cli.catalogues",
    "webhooks": "cli.webhooks",
    "keys": "cli.keys",
    "members": "cli.members",
    "audit": "cli.audit",
    "operators": "cli.operators",
    "projections": "cli.projections",
    "log": "cli.log",
    "migrate": "cli.operating",
    "backup": "cli.operating",
    "restore": "cli.operating",
    "doctor": "cli.doctor",
    "completion": "cli.completion",
}

HELP_COLUMNS_MAX = 110
_NO_COMMAND = re.compile(r"No such command '(.*)'\.")


@click.command(
    cls=LateCommands,
    modules=COMMANDS,
    context_settings={"max_content_width": HELP_COLUMNS_MAX},
    epilog=epilog(
        "dcf serve                                the whole service on this machine",
        "dcf login --key-file .dcf/owner.key",
        "dcf deploy examples/hello",
        exit_codes=True,
    ),
)
@click.option("--url", help="The service's address (DCF_URL, or the one signed in to).")
@click.option(
    "--key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file with the API key (DCF_KEY holds the key itself), instead of signing in.",
)
@click.option(
    "--tenant", help="The id of the tenant to act in (DCF_TENANT), for who belongs to several; see dcf whoami."
)
@click.version_option(release(), prog_name=PROGRAM)
@click.pass_obj
def dcf(session: Session, url: str | None, key_file: Path | None, tenant: str | None) -> None:
    """Dart Cloud Functions: from a folder with a main.dart to a running service."""
    session.url, session.key_file, session.tenant = url, key_file, tenant


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Do what the arguments say; the exit code is one of cli.exits."""
    session = Session(environment)
    try:
        code = dcf.main(
            args=list(arguments), prog_name=PROGRAM, standalone_mode=False, obj=session, complete_var=VARIABLE
        )
    except Trouble as trouble:
        session.close()
        trouble.show(sys.stderr)
        return trouble.exit_code
    except BrokenPipeError:
        raise
    except OSError as problem:
        # A file that cannot be read or written, whatever the command wanted with it.
        named = f"{problem.filename}: " if problem.filename else ""
        Trouble(
            f"{named}{problem.strerror or problem}.", then="name a file that is there, in a folder that is yours"
        ).show(sys.stderr)
        return exits.FAILED
    except click.ClickException as problem:
        _meant(problem).show()
        return problem.exit_code
    except (click.Abort, KeyboardInterrupt):
        session.close()
        Trouble("Interrupted.", then="type the command again; what it had done stays").show(sys.stderr)
        return exits.INTERRUPTED
    finally:
        session.close()
    return code if isinstance(code, int) else exits.OK


def _meant(problem: click.ClickException) -> click.ClickException:
    """Of a command that there is none of, the error says which there are that look like it."""
    unknown = _NO_COMMAND.fullmatch(problem.message)
    context = problem.ctx if isinstance(problem, click.UsageError) else None
    if unknown and context and isinstance(context.command, click.Group):
        alike = get_close_matches(unknown[1], context.command.list_commands(context))
        if alike:
            meant = " or ".join(f"{context.command_path} {name}" for name in alike)
            return click.UsageError(f"{problem.message} Did you mean {meant}?", context)
    return problem


def main() -> int:
    # structlog would load it to draw on terminals, as nobody asks it to.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
    try:
        return run(sys.argv[1:], os.environ)
    except BrokenPipeError:
        # Whoever read our output has gone; and Python would complain again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.FAILED


if __name__ == "__main__":
    sys.exit(main())
