"""Which deployment is meant: by its id, by its function and number, or by its function alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Final
from uuid import UUID

import msgspec

from cli.client import ITEMS_MAX, Json, Refused
from cli.lookup import function_of, project_of
from cli.session import Session
from cli.trouble import Trouble


class Meant(msgspec.Struct, frozen=True):
    """Which of a function's deployments a command is about when only the function is named: the newest that `fits`."""

    fits: Callable[[Json], bool]
    said: str


NEWEST: Final = Meant(lambda _: True, "yet")
UNDER_WAY: Final = Meant(lambda one: one["status"] in ("queued", "running", "deploying"), "under way")
ACTIVE: Final = Meant(lambda one: bool(one["active"]), "that is active")
# What undeploying could not take away is named, and undeploying it again goes on from there.
TO_TAKE_AWAY: Final = Meant(lambda one: bool(one["active"] or one["remaining"]), "that left anything to take away")
ENDED_BADLY: Final = Meant(lambda one: one["status"] in ("failed", "canceled"), "that failed or was canceled")
TO_GO_BACK_TO: Final = Meant(lambda one: bool(one["canRollback"]["allowed"]), "to go back to")
RELEASED: Final = Meant(
    lambda one: one["status"] not in ("queued", "running", "deploying", "failed", "canceled"), "that succeeded"
)


def deployment_of(session: Session, project: str | None, wanted: str, *, meant: Meant = NEWEST) -> Json:
    """The deployment of that id, in the project named or in whichever has it; or of that function.

    With a function alone it is the newest that is `meant`. Raises Trouble.
    """
    try:
        deployment_id = UUID(wanted)
    except ValueError:
        return _of_function(session, project, wanted, meant)
    api = session.api
    projects = [project_of(session, project)] if project else api.items("projects")
    for candidate in projects:
        try:
            found: Json = api.get(f"projects/{candidate['projectId']}/deployments/{deployment_id}")
        except Refused as refusal:
            if refusal.status != 404 or refusal.code == "route_unknown":
                raise
        else:
            return found
    raise Trouble(f"There is no deployment {deployment_id}.", then="dcf deployments list")


def _of_function(session: Session, project: str | None, wanted: str, meant: Meant) -> Json:
    name, mark, number = wanted.rpartition("#")
    if not mark or not number.isdecimal():
        name, number = wanted, ""
    # A number names what was, also of a function that was put away since.
    owner = project_of(session, project, archived=bool(number))
    function = function_of(session.api, owner, name, archived=bool(number))
    path = f"projects/{owner['projectId']}/deployments"
    made = islice(session.api.each(path, functionId=function["functionId"]), ITEMS_MAX)
    for deployment in made:
        if deployment["number"] == int(number) if number else meant.fits(deployment):
            return deployment
    said = f"There is no deployment {number} of {name}." if number else f"{name} has no deployment {meant.said}."
    raise Trouble(said, then=f"dcf deployments list --function {name} --project {owner['name']}")
