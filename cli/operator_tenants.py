"""`dcf operators tenants`: made, given an owner, put on a plan, suspended, resumed, exported, closed."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import click

from cli.arguments import EMAIL
from cli.audit_export import fetched, show_export
from cli.completions import plan_names
from cli.epilog import epilog
from cli.operator_api import operator_api
from cli.session import Session, shown
from cli.trouble import Trouble

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
    "suspended": "suspended",
    "closed": "closedAt",
}


_FIELDS = {
    "name": "name",
    "id": "tenantId",
    "plan": "plan",
    "suspended": "suspended",
    "closed": "closedAt",
    "created": "createdAt",
    "updated": "updatedAt",
}
_ID = "0192d3a4-5b6c-7d8e-9f00-112233445599"
_tenant = click.argument("tenant", metavar="TENANT_ID", type=click.UUID)
_reason = click.option("--reason", default="", help="Why; the tenant's callers are told.")


@click.group(
    epilog=epilog(
        "dcf operators tenants list", "dcf operators tenants choose-plan 0192d3a4-5b6c-7d8e-9f00-112233445599 standard"
    )
)
def tenants() -> None:
    """Tenants: made, given an owner, put on a plan, suspended, resumed, exported, closed; and how much each has."""


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


@tenants.command(epilog=epilog("dcf operators tenants create acme standard"))
@click.argument("name")
@click.argument("plan", shell_complete=plan_names)
@shown
@click.pass_obj
def create(session: Session, name: str, plan: str) -> None:
    """Make a tenant. Its name becomes the first segment of its functions' addresses; invite its owner next."""
    with operator_api(session) as api:
        session.screen.fields(api.write("POST", "operations/tenants", {"name": name, "plan": plan}), _FIELDS)


@tenants.command("invite-owner", epilog=epilog(f"dcf operators tenants invite-owner {_ID} ada@example.com"))
@_tenant
@click.argument("email", metavar="EMAIL", type=EMAIL)
@shown
@click.pass_obj
def invite_owner(session: Session, tenant: UUID, email: str) -> None:
    """Invite an owner into a tenant, and print the text to send them, this once."""
    with operator_api(session) as api:
        made = api.write("POST", f"operations/tenants/{tenant}/invitations", {"email": email, "role": "owner"})
    if made["invitation"] is None:
        raise Trouble("The connection was lost when the invitation was shown.", then="type the command again")
    session.screen.warn("The invitation is shown only this once: send it now.")
    session.screen.result(made, made["invitation"])


@tenants.command(epilog=epilog(f'dcf operators tenants suspend {_ID} --reason "The invoice of October is open."'))
@_tenant
@_reason
@shown
@click.pass_obj
def suspend(session: Session, tenant: UUID, reason: str) -> None:
    """Let nothing of a tenant be changed. What is deployed goes on serving."""
    with operator_api(session) as api:
        session.screen.fields(api.write("POST", f"operations/tenants/{tenant}/suspend", {"reason": reason}), _FIELDS)


@tenants.command(epilog=epilog(f"dcf operators tenants resume {_ID}"))
@_tenant
@shown
@click.pass_obj
def resume(session: Session, tenant: UUID) -> None:
    """Let a suspended tenant go on."""
    with operator_api(session) as api:
        session.screen.fields(api.write("POST", f"operations/tenants/{tenant}/resume"), _FIELDS)


@tenants.command(epilog=epilog(f"dcf operators tenants export {_ID} /exports/acme"))
@_tenant
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@shown
@click.pass_obj
def export(session: Session, tenant: UUID, folder: Path) -> None:
    """Write all that was recorded in a tenant into FOLDER: compressed lines of JSON and a manifest.

    Interrupted, type it again: it goes on where it stopped. `dcf audit import` puts it into an empty installation.
    """
    with operator_api(session) as api:
        show_export(session, folder, lambda: fetched(session, api, folder, tenant))


@tenants.command(
    epilog=epilog(f"dcf operators tenants close {_ID}", f"dcf operators tenants close {_ID} --undeploy-first")
)
@_tenant
@_reason
@click.option("--undeploy-first", is_flag=True, help="Undeploy what serves; else that is a reason to refuse.")
@shown
@click.pass_obj
def close(session: Session, tenant: UUID, reason: str, undeploy_first: bool) -> None:
    """Close a tenant for good. Its keys and members get in no more; what was recorded stays for the audit."""
    asked = {"reason": reason, "undeployFirst": undeploy_first}
    with operator_api(session) as api:
        session.screen.fields(api.write("POST", f"operations/tenants/{tenant}/close", asked), _FIELDS)
