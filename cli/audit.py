"""`dcf audit`: what happened, what was, and whether all that is shown is what happened."""

from __future__ import annotations

import click

from cli.epilog import epilog
from cli.late import LateCommands

_MODULES = {
    "log": "cli.audit_log",
    "as-of": "cli.audit_reads",
    "history": "cli.audit_reads",
    "diff": "cli.audit_reads",
    "causes": "cli.audit_reads",
    "checkpoint": "cli.audit_tree",
    "prove": "cli.audit_tree",
    "check-proof": "cli.audit_tree",
    "consistency": "cli.audit_tree",
    "verify": "cli.audit_verify",
    "dry-run": "cli.audit_dry_run",
    "replay": "cli.audit_replay",
    "export": "cli.audit_export",
    "import": "cli.audit_export",
}


@click.group(
    cls=LateCommands,
    modules=_MODULES,
    epilog=epilog(
        "dcf audit log --since 7d",
        "dcf audit as-of hello --at 2026-03-01T12:00:00Z",
        "dcf audit diff hello --from 7d",
        "dcf audit verify                          where the service runs",
    ),
)
def audit() -> None:
    """The log: read it, ask it about the past, and check everything else against it."""
