"""`dcf runtimes` and `dcf triggers`: what there is to choose from."""

from __future__ import annotations

import click

from cli.client import Json
from cli.epilog import epilog
from cli.session import Session, shown

RUNTIME_COLUMNS = {
    "version": "version",
    "phase": "supportPhase",
    "deployable": "deployable",
    "runs": "executable",
    "released": "releasedAt",
    "announced": "deprecationAnnouncedAt",
    "no deploys after": "blockNewDeploysAfter",
    "stops after": "disableExecutionAfter",
}


@click.command(epilog=epilog("dcf runtimes", "dcf runtimes --json"))
@shown
@click.pass_obj
def runtimes(session: Session) -> None:
    """List the Dart SDK versions, with their dates."""
    show_runtimes(session, session.api.get("runtimes"))


def show_runtimes(session: Session, groups: Json) -> None:
    """Show the runtimes of every phase, the default marked."""
    if session.as_json:
        session.screen.result(groups)
        return
    rows = [row for phase in ("supported", "deprecating", "disabled") for row in groups[phase]]
    marked = [
        {**row, "version": f"{row['version']} *" if row["version"] == groups["default"] else row["version"]}
        for row in rows
    ]
    session.screen.rows(marked, RUNTIME_COLUMNS, empty="The service offers no runtimes.")
    session.screen.say("* the default of new functions", "dim")


@click.command(epilog=epilog("dcf triggers", "dcf triggers --json"))
@shown
@click.pass_obj
def triggers(session: Session) -> None:
    """List what can set a function in motion, and where that is supported."""
    catalogue = session.api.get("functions/trigger-types")
    if session.as_json:
        session.screen.result(catalogue)
        return
    rows = catalogue["triggerTypes"]
    for row in rows:
        row["settings"] = list(row["settingsSchema"].get("properties", {}))
    providers = {name: f"providers.{name}" for name in ("local", "aws", "azure", "gcp")}
    columns = {"type": "type", "title": "title", "settings": "settings", **providers}
    session.screen.rows(rows, columns, empty="The service knows no triggers.")
