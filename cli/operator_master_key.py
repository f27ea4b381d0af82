"""`dcf operators master-key`: whether a former master key is still needed."""

from __future__ import annotations

import click

from cli.epilog import epilog
from cli.operator_api import operator_api
from cli.session import Session, shown

_COLUMNS = {"what": "what", "wrapped by the master key": "byCurrentKey", "by others": "byOtherKeys"}


@click.command("master-key", epilog=epilog("dcf operators master-key", "dcf operators master-key --json"))
@shown
@click.pass_obj
def master_key(session: Session) -> None:
    """Show what the current master key wraps, and whether former ones are still needed."""
    with operator_api(session) as api:
        found = api.get("operations/master-key")
    rows = [
        {"what": "names and addresses of people", **found["personKeys"]},
        {"what": "secrets of functions", **found["functionSecrets"]},
        {"what": "keys of tenants", **found["tenantKeys"]},
    ]
    if session.screen.as_json:
        session.screen.result(found)
        return
    session.screen.rows(rows, _COLUMNS, empty="")
    if found["service"]:
        session.screen.say(f"The master key is held by {found['service']}.")
    are = "still needed" if found["formerKeysNeeded"] else "not needed"
    session.screen.say(f"Former master keys are {are}.")
