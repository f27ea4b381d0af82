"""`dcf operators tenants`: how much each tenant has, and its plan."""

from __future__ import annotations

import click

from cli.epilog import epilog
from cli.operator_api import operator_api
from cli.session import Session, shown

_COLUMNS = {
    "name": "name",
    "id": "tenantId",
    "plan": "plan",
    "projects": "projects",
    "functions": "functions",
    "members": "members",
    "artifact bytes": "artifactBytes",
    "deployments": "deployments",
    "succeeded": "deploymentsSucceeded",
    "failed": "deploymentsFailed",
}


@click.group(epilog=epilog("dcf operators tenants list", "dcf operators tenants list --json"))
def tenants() -> None:
    """Tenants: how much each has."""


@tenants.command("list", epilog=epilog("dcf operators tenants list", "dcf operators tenants list --json"))
@shown
@click.pass_obj
def list_(session: Session) -> None:
    """List the tenants with their plans and what they have, oldest first."""
    with operator_api(session) as api:
        session.screen.rows(api.items("operations/usage"), _COLUMNS, empty="No tenants.")
