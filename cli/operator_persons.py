"""`dcf operators persons`: erased for good."""

from __future__ import annotations

from uuid import UUID

import click

from cli.epilog import epilog
from cli.operator_api import operator_api
from cli.session import Session, shown


@click.group(epilog=epilog("dcf operators persons erase 0192d3a4-5b6c-7d8e-9f00-112233445588"))
def persons() -> None:
    """Persons: who asks to be forgotten is."""


@persons.command(epilog=epilog("dcf operators persons erase 0192d3a4-5b6c-7d8e-9f00-112233445588"))
@click.argument("person", metavar="PERSON_ID", type=click.UUID)
@shown
@click.pass_obj
def erase(session: Session, person: UUID) -> None:
    """Erase a person: name and e-mail can be read nowhere any more, and every membership ends."""
    with operator_api(session) as api:
        gone = api.write("DELETE", f"operations/persons/{person}")
    session.screen.result(gone, f"{gone['personId']} is erased.")
