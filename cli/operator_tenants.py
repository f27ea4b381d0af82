"""`dcf operators tenants`: how much each tenant has, and its plan."""

from __future__ import annotations

from uuid import UUID

import click

from cli.completions import plan_names
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


_FIELDS = {"name": "name", "id": "tenantId", "plan": "plan", "created": "createdAt", "updated": "updatedAt"}


@click.group(
    epilog=epilog(
        "dcf operators tenants list", "dcf operators tenants choose-plan 0192d3a4-5b6c-7d8e-9f00-112233445599 standard"
    )
)
def tenants() -> None:
    """Tenants: how much each has, and on which plan."""


@tenants.command("list", epilog=epilog("dcf operators tenants list", "dcf operators tenants list --json"))
@shown
@click.pass_obj
def list_(session: Session) -> None:
    """List the tenants with their plans and what they have, oldest first."""
    with operator_api(session) as api:
        session.screen.rows(api.items("operations/usage"), _COLUMNS, empty="No tenants.")


@tenants.command(
    "choose-plan",
    epilog=epilog("dcf operators tenants choose-plan 0192d3a4-5b6c-7d8e-9f00-112233445599 standard"),
)
@click.argument("tenant", metavar="TENANT_ID", type=click.UUID)
@click.argument("plan", shell_complete=plan_names)
@shown
@click.pass_obj
def choose_plan(session: Session, tenant: UUID, plan: str) -> None:
    """Put a tenant on a plan. What it has already stays; there will be no more of it than the plan allows."""
    with operator_api(session) as api:
        session.screen.fields(api.write("PUT", f"operations/tenants/{tenant}/plan", {"plan": plan}), _FIELDS)
