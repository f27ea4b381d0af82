"""`dcf members`: who belongs to the tenant, and what each may do."""

from __future__ import annotations

from uuid import UUID

import click

from cli.arguments import EMAIL
from cli.completions import member_ids
from cli.epilog import epilog
from cli.session import Session, shown
from cli.trouble import Trouble

_COLUMNS = {"person": "personId", "role": "role", "since": "addedAt"}

_INVITATIONS = {
    "e-mail": "email",
    "id": "invitationId",
    "role": "role",
    "status": "status",
    "invited": "invitedAt",
    "expires": "expiresAt",
}

_person = click.argument("person", metavar="PERSON_ID", type=click.UUID, shell_complete=member_ids)
_role = click.argument("role", metavar="ROLE", type=click.Choice(["viewer", "developer", "admin", "owner"]))


@click.group(
    epilog=epilog(
        "dcf members list",
        "dcf members invite ada@example.com developer",
        "dcf members add 0192d3a4-5b6c-7d8e-9f00-112233445588 developer",
        "dcf members change-role 0192d3a4-5b6c-7d8e-9f00-112233445588 admin",
    )
)
def members() -> None:
    """Members: the people of the tenant. Nobody gives or takes a role above their own."""


@members.command("list", epilog=epilog("dcf members list", "dcf members list --json"))
@shown
@click.pass_obj
def list_(session: Session) -> None:
    """List the members, oldest first."""
    session.screen.rows(session.api.items("tenant/members"), _COLUMNS, empty="No members.")


@members.command(epilog=epilog("dcf members add 0192d3a4-5b6c-7d8e-9f00-112233445588 developer"))
@_person
@_role
@shown
@click.pass_obj
def add(session: Session, person: UUID, role: str) -> None:
    """Make a person that this service knows a member. ROLE is viewer, developer, admin or owner."""
    session.screen.fields(
        session.api.write("POST", "tenant/members", {"personId": str(person), "role": role}), _COLUMNS
    )


@members.command("change-role", epilog=epilog("dcf members change-role 0192d3a4-5b6c-7d8e-9f00-112233445588 admin"))
@_person
@_role
@shown
@click.pass_obj
def change_role(session: Session, person: UUID, role: str) -> None:
    """Give a member another role. ROLE is viewer, developer, admin or owner."""
    session.screen.fields(session.api.write("PATCH", f"tenant/members/{person}", {"role": role}), _COLUMNS)


@members.command(epilog=epilog("dcf members remove 0192d3a4-5b6c-7d8e-9f00-112233445588"))
@_person
@shown
@click.pass_obj
def remove(session: Session, person: UUID) -> None:
    """End a membership. The last owner stays."""
    removed = session.api.write("DELETE", f"tenant/members/{person}")
    session.screen.result(removed, f"{removed['personId']} is no member any more.")


@members.command(
    epilog=epilog(
        "dcf members invite ada@example.com developer",
        "dcf members invite ada@example.com viewer --expires-in-days 1 > invitation.txt",
    )
)
@click.argument("email", metavar="EMAIL", type=EMAIL)
@_role
@click.option("--expires-in-days", type=click.IntRange(min=1), help="Days until it ends by itself (7).")
@shown
@click.pass_obj
def invite(session: Session, email: str, role: str, expires_in_days: int | None) -> None:
    """Invite somebody, and print the text to send them, this once. ROLE is viewer, developer, admin or owner.

    They accept it once they are signed in, whoever they signed in with.
    """
    days = {"expiresInDays": expires_in_days} if expires_in_days else {}
    made = session.api.write("POST", "tenant/invitations", {"email": email, "role": role, **days})
    if made["invitation"] is None:
        session.api.write("DELETE", f"tenant/invitations/{made['invitationId']}")
        raise Trouble(
            "The connection was lost when the invitation was shown; it is withdrawn again.",
            then="type the command again",
        )
    session.screen.warn("The invitation is shown only this once: send it now.")
    session.screen.result(made, made["invitation"])


@members.command(epilog=epilog("dcf members invitations", "dcf members invitations --json"))
@shown
@click.pass_obj
def invitations(session: Session) -> None:
    """List the invitations, newest first, those that are over too."""
    session.screen.rows(session.api.items("tenant/invitations"), _INVITATIONS, empty="Nobody was invited.")


@members.command(epilog=epilog("dcf members withdraw 0192d3a4-5b6c-7d8e-9f00-112233445599"))
@click.argument("invitation", metavar="INVITATION_ID", type=click.UUID)
@shown
@click.pass_obj
def withdraw(session: Session, invitation: UUID) -> None:
    """Take an invitation back."""
    gone = session.api.write("DELETE", f"tenant/invitations/{invitation}")
    session.screen.result(gone, f"{gone['invitationId']} can be accepted no more.")
