"""`dcf operators queue`: what waits and what is under way, of all tenants."""

from __future__ import annotations

import click

from cli.epilog import epilog
from cli.operator_api import operator_api
from cli.session import Session, shown

_COLUMNS = {
    "deployment": "deploymentId",
    "tenant": "tenantId",
    "provider": "provider",
    "status": "status",
    "since": "askedAt",
    "runner": "runnerId",
    "to be canceled": "cancelRequested",
}


@click.command(epilog=epilog("dcf operators queue", "dcf operators queue --json"))
@shown
@click.pass_obj
def queue(session: Session) -> None:
    """List the deployments of all tenants that wait or are under way, oldest first."""
    with operator_api(session) as api:
        session.screen.rows(list(api.items("operations/queue")), _COLUMNS, empty="Nothing waits.")
